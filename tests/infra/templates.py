"""Looks into templates."""

from collections.abc import Iterator
from typing import Any


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Those of a type, by their logical ids."""
    return {id: each for id, each in template["Resources"].items() if each["Type"] == kind}


def only(template: dict[str, Any], kind: str) -> dict[str, Any]:
    """The properties of the one resource of a type."""
    found = list(resources(template, kind).values())
    assert len(found) == 1, f"{len(found)} of {kind}"
    properties: dict[str, Any] = found[0]["Properties"]
    return properties


def asynchronous(template: dict[str, Any], function: str, qualifier: str) -> dict[str, Any]:
    """How the function whose id begins so is invoked when nobody waits for it."""
    (found,) = (
        each["Properties"]
        for each in resources(template, "AWS::Lambda::EventInvokeConfig").values()
        if text(each["Properties"]["FunctionName"]).startswith(f"<{function}")
        and qualifier in text(each["Properties"]["Qualifier"])
    )
    assert isinstance(found, dict)
    return found


def image_functions(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in resources(template, "AWS::Lambda::Function").values():
        if "ImageUri" in each["Properties"]["Code"]:
            yield each["Properties"]


def has(value: Any, expected: Any) -> bool:
    """Whether `value` has at least what `expected` has, at any depth."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(key in value and has(value[key], each) for key, each in expected.items())
    return bool(value == expected)


def text(value: Any) -> str:
    """An intrinsic as one reads it: references in angle brackets."""
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return f"<{text(name)}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(map(text, parts))
        case {"Fn::Select": [index, of]}:
            return f"<{text(of)}[{index}]>"
        case {"Fn::Split": [separator, of]}:
            return text(of)
    return str(value)
