"""A task on Fargate says of itself that it has something to do, for as long as it has."""

from tests.support.ecs_agent import running_agent
from tests.support.service import StartService


async def test_a_running_generation_protects_its_task_without_a_reader(start_service: StartService) -> None:
    with running_agent() as agent:
        service = await start_service(home="fargate", environment={"ECS_AGENT_URI": agent.uri})
        assert not agent.asked
        async with service.client() as client:
            answer = await client.post(
                "/v1/responses",
                json={"model": "sim-endless?rate=5&first_ms=0", "input": "-", "background": True},
            )
            assert answer.status_code == 200, answer.text

            asked = await agent.was_asked(1)
            assert asked == [{"ProtectionEnabled": True, "ExpiresInMinutes": 16}]

            await client.post(f"/v1/responses/{answer.json()['id']}/cancel")
            assert (await agent.was_asked(2))[1] == {"ProtectionEnabled": False}


async def test_elsewhere_nobody_is_asked(start_service: StartService) -> None:
    """The variable alone, in another home, does nothing."""
    with running_agent() as agent:
        service = await start_service(environment={"ECS_AGENT_URI": agent.uri})
        async with service.client() as client:
            answer = await client.post(
                "/v1/completions",
                json={"model": "sim-ok?rate=20&tokens=200", "input": "-", "max_tokens": 300},
                timeout=60,
            )
        assert answer.status_code == 200

    assert not agent.asked
