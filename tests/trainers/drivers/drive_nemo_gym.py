"""NeMo Gym's own simple agent, which seeds a session, asks its model and has the answer verified.

The package asks for a newer Python than its agent needs. Left out: what its tables and loggers
import. The model, and the agent's own route, are a small server that says what the rollouts do.
"""

import asyncio
import importlib.util
import json
import socket
from typing import Any

import uvicorn
from aiohttp import web
from omegaconf import OmegaConf
from starlette.requests import Request

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


def said(text: str) -> dict[str, Any]:
    """A model's response, as its API gives it."""
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": "r",
        "created_at": 0.0,
        "model": "scripted",
        "object": "response",
        "output": [{**message, "content": [part]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


async def speaking(request: web.Request) -> web.Response:
    """The answer that the prompt carries behind its question, for this server only."""
    body = json.loads(await request.read())
    return web.json_response(said(body["metadata"]["response"]))


async def served() -> tuple[web.AppRunner, int]:
    """The model's server and its port."""
    app = web.Application()
    app.router.add_post("/v1/responses", speaking)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


_NOWHERE = ServerClient(
    head_server_config=BaseServerConfig(host="127.0.0.1", port=1),
    global_config_dict=OmegaConf.create({}),
)


def scaffolded(file: str, url: str) -> uvicorn.Server:
    """The resources server that `citemark scaffold` wrote, on Gym's own base class."""
    spec = importlib.util.spec_from_file_location("scaffold", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.CitemarkConfig(
        name="citemark",
        host="127.0.0.1",
        port=1,
        entrypoint="app.py",
        domain="knowledge",
        url=url,
        api_token="",
    )
    made = module.CitemarkResourcesServer(config=config, server_client=_NOWHERE)
    return uvicorn.Server(uvicorn.Config(made.setup_webserver(), log_level="error"))


def agent(url: str, port: int) -> SimpleAgent:
    """The agent with what is at `url` as its resources server."""
    host, _, citemark = url.removeprefix("http://").partition(":")
    places = {
        "citemark": {"resources_servers": {"citemark": {"host": host, "port": int(citemark)}}},
        "agent": {"responses_api_agents": {"agent": {"host": "127.0.0.1", "port": port}}},
    }
    config = SimpleAgentConfig(
        name="agent",
        host="127.0.0.1",
        port=port,
        entrypoint="app.py",
        domain="other",
        resources_server=ResourcesServerRef(type="resources_servers", name="citemark"),
        model_server=ModelServerRef(type="responses_api_models", name="agent"),
    )
    client = _NOWHERE.model_copy(update={"global_config_dict": OmegaConf.create(places)})
    return SimpleAgent(config=config, server_client=client)


async def ran(runner: SimpleAgent, rollout: dict[str, Any]) -> dict[str, Any]:
    """One rollout of the agent; what it makes of the verifier's answer."""
    params = {"input": rollout["question"], "metadata": {"response": rollout["response"]}}
    body = SimpleAgentRunRequest.model_validate(
        {"responses_create_params": params, **row_of(rollout)}
    )
    request = Request({"type": "http", "headers": []})
    done: dict[str, Any] = (await runner.run(request, body)).model_dump(mode="json")
    return {name: value for name, value in done.items() if name != "response"}


async def step_of(url: str, rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every rollout of the step, all at once."""
    server, port = await served()
    try:
        runner = agent(url, port)
        return list(await asyncio.gather(*(ran(runner, each) for each in rollouts)))
    finally:
        await server.cleanup()


async def through(file: str, url: str, rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with the scaffold's server between."""
    listener = socket.create_server(("127.0.0.1", 0))
    between = scaffolded(file, url)
    serving = asyncio.create_task(between.serve(sockets=[listener]))
    try:
        return await step_of(f"http://127.0.0.1:{listener.getsockname()[1]}", rollouts)
    finally:
        between.should_exit = True
        await serving


async def work(job: Job) -> list[dict[str, Any]]:
    """What the agent has for every rollout; through `job["scaffold"]` where one is named."""
    set_global_aiohttp_client(GlobalAIOHTTPAsyncClientConfig())
    try:
        if scaffold := job.get("scaffold"):
            return await through(scaffold, job["url"], job["rollouts"])
        return await step_of(job["url"], job["rollouts"])
    finally:
        await server_utils.get_global_aiohttp_client().close()


if __name__ == "__main__":
    answer(lambda job: asyncio.run(work(job)))
