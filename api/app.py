"""The ASGI application: routes, middleware, and the database that is open while it runs. Read this first."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute

from api.auth.authenticator import Authenticator
from api.endpoints import TOPICS
from api.graphql.http import PATH, GraphQLHandler
from api.graphql.websocket.handler import WebSocketHandler, websocket_routes
from api.http.client_identity import Authenticate, client_identifier
from api.http.concurrency import request_limit
from api.http.request_cost import cost_of_graphql_request, cost_of_rest_request
from api.http.router import FastRouter
from api.middleware.cors import Cors
from api.middleware.hosts import host_check
from api.middleware.proxies import proxy_headers
from api.middleware.rate_limit import RateLimiter
from api.middleware.rate_limit_storage import redis_storage
from api.middleware.request_middleware import RequestMiddleware, handle_http_exception
from api.observability import health, metrics
from api.observability.metrics import MetricsMiddleware, RequestMetrics
from api.openapi import document as openapi
from api.pages import routes
from api.rest.endpoint import Endpoint
from api.rest.endpoint_app import endpoint_routes
from api.rest.model_endpoints import me_endpoint, model_endpoints
from api.rest.typed_endpoints import endpoints_of
from api.settings import Settings
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.model.resource import Resource, resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import Executor
from schema.graphql.execution.limits import Limits
from schema.graphql.schema import make_schema
from schema.models import MODELS, User

if TYPE_CHECKING:
    from api.server.http.limits import OnRefusal


def create_app(
    settings: Settings, authenticate: Authenticate | None = None, topics: Sequence[ModuleType] = TOPICS
) -> Starlette:
    """Build the application.

    `authenticate` finds a request's actor; by default by API keys and JWTs. `topics` are modules of endpoints.
    """
    resources = [resource_of(model) for model in MODELS]
    endpoints = _endpoints(resources, topics)
    executor = _graphql_executor(settings, resources)

    authenticate = authenticate or Authenticator(settings)
    counters = redis_storage(settings.rate_limit_url)
    rate_limiter = RateLimiter(authenticate, settings.rate, settings.credential_rate, counters)
    concurrency_limit = request_limit(settings.running, settings.credential_share)
    request_metrics = RequestMetrics(concurrency_limit)

    authenticate_graphql = rate_limiter.metered(cost_of_graphql_request)
    authenticate_rest = rate_limiter.metered(cost_of_rest_request)
    api_routes = [
        Route(PATH, GraphQLHandler(executor, authenticate_graphql, routes.graphiql_page, settings.graphql_body_limit)),
        *endpoint_routes(endpoints, authenticate_rest, settings.body_limit),
    ]
    several = settings.workers > 1
    app = Starlette(
        routes=[
            *routes.routes(),
            *health.routes(),
            openapi.route(openapi.document(endpoints, resources, _tags(topics), development=settings.development)),
            metrics.route(
                request_metrics, executor, authenticate_graphql, token=settings.metrics_token, several=several
            ),
            *api_routes,
            *_websocket_routes(settings, executor, authenticate, rate_limiter),
        ],
        middleware=[  # the first is the outermost
            *_tracing_middleware(settings),
            Middleware(MetricsMiddleware, metrics=request_metrics),
            _request_middleware(settings, concurrency_limit, rate_limiter, authenticate),
            Middleware(FastRouter, routes=api_routes),
        ],
        exception_handlers={HTTPException: handle_http_exception},
        lifespan=_lifespan(settings, authenticate, request_metrics, rate_limiter),
    )
    app.router.redirect_slashes = False
    app.state.concurrency_limit = concurrency_limit
    app.state.request_metrics = request_metrics
    app.state.on_refusal = _on_refusal(request_metrics, rate_limiter)
    return app


def _endpoints(resources: Sequence[Resource], topics: Sequence[ModuleType]) -> list[Endpoint]:
    return [
        *(endpoint for resource in resources for endpoint in model_endpoints(resource)),
        me_endpoint(resource_of(User)),
        *(endpoint for topic in topics for endpoint in endpoints_of(topic)),
    ]


def _graphql_executor(settings: Settings, resources: Sequence[Resource]) -> Executor:
    limits = Limits(depth=settings.graphql_depth, records=settings.graphql_records)
    return Executor(
        make_schema(resources, resource_of(User)), limits, introspection_restricted=not settings.development
    )


def _tags(topics: Sequence[ModuleType]) -> dict[str, str]:
    """Descriptions of the OpenAPI tags of custom endpoints, by tag."""
    return {topic.__name__.rpartition(".")[2]: inspect.getdoc(topic) or "" for topic in topics}


def _websocket_routes(
    settings: Settings, executor: Executor, authenticate: Authenticate, rate_limiter: RateLimiter
) -> list[WebSocketRoute]:
    return websocket_routes(
        WebSocketHandler(
            executor,
            authenticate,
            rates=rate_limiter,
            sockets=settings.sockets,
            sockets_per_address=settings.sockets_per_address,
            share=settings.credential_share,
            origins=settings.cors_origins,
            document_limit=settings.graphql_body_limit,
        )
    )


def _tracing_middleware(settings: Settings) -> list[Middleware]:
    if settings.tracing == "off":
        return []
    from api.observability.tracing import Tracing  # imported only if used

    return [Middleware(Tracing)]


def _request_middleware(
    settings: Settings, concurrency_limit: ConcurrencyLimit, rate_limiter: RateLimiter, authenticate: Authenticate
) -> Middleware:
    apply_proxy_headers = proxy_headers(settings.trusted_proxies)
    return Middleware(
        RequestMiddleware,
        concurrency_limit=concurrency_limit,
        rate_limiter=rate_limiter,
        identify=client_identifier(authenticate),
        checks=[*([apply_proxy_headers] if apply_proxy_headers else []), host_check(settings.allowed_hosts)],
        cors=Cors(settings.cors_origins) if settings.cors_origins else None,
        production=not settings.development,
        log_all=settings.log_level == "debug",
    )


def _lifespan(
    settings: Settings, authenticate: Authenticate, request_metrics: RequestMetrics, rate_limiter: RateLimiter
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        directory = Directory(
            settings.database,
            deadline=settings.request_timeout,
            pool=settings.pool,
            replica=settings.read_database,
            share=settings.credential_share,
        )
        async with directory as app.state.directory:
            if isinstance(authenticate, Authenticator):
                await authenticate.start(app.state.directory)
            with request_metrics.measuring_loop_lag():
                yield
        await rate_limiter.close()

    return lifespan


def _on_refusal(request_metrics: RequestMetrics, rate_limiter: RateLimiter) -> OnRefusal:
    """Count the requests that the HTTP server refuses, and charge them to their address."""

    def on_refusal(status: int, address: str | None) -> None:
        request_metrics.refused[status] += 1
        if address is not None:
            rate_limiter.charge_refusal(address)

    return on_refusal
