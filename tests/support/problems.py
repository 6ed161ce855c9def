"""Looking at errors."""

import httpx


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error, which must be problem details with the request's id."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert body["request_id"] == response.headers["request-id"]
    assert body["status"] == response.status_code
    assert body["detail"]
    return response.status_code, body["type"].removeprefix("/problems/")


def without_id(response: httpx.Response) -> dict[str, object]:
    """An error's body but for the request's id, to compare two of them."""
    return {name: value for name, value in response.json().items() if name != "request_id"}
