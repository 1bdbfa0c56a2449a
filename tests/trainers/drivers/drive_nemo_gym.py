"""NeMo Gym's own simple agent, which seeds a session, asks its model and has the answer verified.

The package asks for a newer Python than its agent needs. Left out: what its tables and loggers
import. The model, and the agent's own route, are a small server that says what the rollouts do.
"""

import asyncio
import importlib.util
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from omegaconf import OmegaConf
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from job import Job, answer, row_of
from partly import absent

absent("wandb", "mlflow", "devtools", "git")

from nemo_gym import server_utils  # noqa: E402
from nemo_gym.config_types import (  # noqa: E402
    BaseServerConfig,
    ModelServerRef,
    ResourcesServerRef,
)
from nemo_gym.server_utils import (  # noqa: E402
    GlobalAIOHTTPAsyncClientConfig,
    ServerClient,
    set_global_aiohttp_client,
)
from responses_api_agents.simple_agent.app import (  # noqa: E402
    SimpleAgent,
    SimpleAgentConfig,
    SimpleAgentRunRequest,
)

HERE = {"host": "127.0.0.1", "entrypoint": "app.py"}


async def speak(request: Request) -> JSONResponse:
    """The answer that the prompt carries behind its question, for this server only."""
    text = (await request.json())["metadata"]["response"]
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    return JSONResponse(
        {
            "id": "r",
            "created_at": 0.0,
            "model": "scripted",
            "object": "response",
            "output": [{**message, "content": [part]}],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
    )


@asynccontextmanager
async def serve(app: ASGIApp) -> AsyncIterator[int]:
    """The port at which the app answers."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


def client_of(places: dict[str, Any]) -> ServerClient:
    return ServerClient(
        head_server_config=BaseServerConfig(host="127.0.0.1", port=1),
        global_config_dict=OmegaConf.create(places),
    )


def scaffolded(file: str, url: str) -> ASGIApp:
    """The resources server that `citemark scaffold` wrote, on Gym's own base class."""
    spec = importlib.util.spec_from_file_location("scaffold", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.CitemarkConfig(
        name="citemark", port=1, domain="knowledge", url=url, api_token="", **HERE
    )
    server = module.CitemarkResourcesServer(config=config, server_client=client_of({}))
    app: ASGIApp = server.setup_webserver()
    return app


def agent(verifier: int, model: int) -> SimpleAgent:
    """The agent between those two ports."""
    ports = {
        "citemark": {"resources_servers": {"citemark": {"host": "127.0.0.1", "port": verifier}}},
        "agent": {"responses_api_agents": {"agent": {"host": "127.0.0.1", "port": model}}},
    }
    config = SimpleAgentConfig(
        name="agent",
        port=model,
        domain="other",
        resources_server=ResourcesServerRef(type="resources_servers", name="citemark"),
        model_server=ModelServerRef(type="responses_api_models", name="agent"),
        **HERE,
    )
    return SimpleAgent(config=config, server_client=client_of(ports))


async def run_step(verifier: int, rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the agent makes of the verifier's answers, with all rollouts run at once."""

    async def run(runner: SimpleAgent, rollout: dict[str, Any]) -> dict[str, Any]:
        params = {"input": rollout["question"], "metadata": {"response": rollout["response"]}}
        body = SimpleAgentRunRequest.model_validate(
            {"responses_create_params": params, **row_of(rollout)}
        )
        done = await runner.run(Request({"type": "http", "headers": []}), body)
        ran: dict[str, Any] = done.model_dump(mode="json")
        return ran

    async with serve(Starlette(routes=[Route("/v1/responses", speak, methods=["POST"])])) as model:
        runner = agent(verifier, model)
        return list(await asyncio.gather(*(run(runner, each) for each in rollouts)))


async def work(job: Job) -> dict[str, Any]:
    set_global_aiohttp_client(GlobalAIOHTTPAsyncClientConfig())
    url, rollouts = job["url"], job["rollouts"]
    try:
        if job["way"] == "scaffold":
            async with serve(scaffolded(job["scaffold"], url)) as between:
                done = await run_step(between, rollouts)
        else:
            done = await run_step(int(url.rpartition(":")[2]), rollouts)
    finally:
        await server_utils.get_global_aiohttp_client().close()
    masks = [None, {"mask_sample": True}]
    return {
        "rewards": [each["reward"] for each in done],
        "flags": [
            [
                each["mask_sample"],
                each["judge_failed"],
                each["failure_kind"] is not None,
                masks.index(each.get("instance_config")),
            ]
            for each in done
        ],
        "names": list(set.intersection(*map(set, done))),
        "responses": [each["response"]["output"][0]["content"][0]["text"] for each in done],
    }


if __name__ == "__main__":
    answer(lambda job: asyncio.run(work(job)))
