"""Web frameworks inside of the handler: the route of the request, and the error that became a 500 (PL-26, PL-84)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Start
from stage import Function, attributes, bundled, version
from test_log_ids import has

HOST = "abc.execute-api.eu-west-1.amazonaws.com"


def http_api(path: str) -> dict[str, Any]:
    """As an HTTP API sends it, whose only route is everything."""
    http = {"method": "GET", "path": path, "userAgent": "u", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": HOST},
        "requestContext": {"apiId": "abc", "stage": "$default", "domainName": HOST, "requestId": "r", "http": http},
        "isBase64Encoded": False,
    }


def rest_api(path: str, resource: str = "/{proxy+}") -> dict[str, Any]:
    return {
        "resource": resource,
        "path": path,
        "httpMethod": "GET",
        "headers": {"Host": HOST},
        "multiValueHeaders": {"Host": [HOST]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {},
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "path": path,
            "httpMethod": "GET",
            "stage": "prod",
            "requestId": "r",
            "apiId": "abc",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": None,
        "isBase64Encoded": False,
    }


FLASK = """
from flask import Flask
app = Flask(__name__)
@app.route("/shops/<shop>/orders/<int:order>")
def order(shop, order):
    return f"{shop} {order}"
def sell():
    raise LookupError("out of stock")
@app.route("/fails")
def fails():
    sell()
"""
FASTAPI = """
from fastapi import APIRouter, FastAPI
app = FastAPI()
orders, shops = APIRouter(), APIRouter()
@orders.get("/orders/{order}")
async def order(shop: str, order: int):
    return f"{shop} {order}"
shops.include_router(orders, prefix="/{shop}")
app.include_router(shops, prefix="/shops")
def sell():
    raise LookupError("out of stock")
@app.get("/fails")
def fails():
    sell()
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
async def order(request):
    return PlainTextResponse("{shop} {order}".format(**request.path_params))
def sell():
    raise LookupError("out of stock")
async def fails(request):
    sell()
orders = Mount("/shops/{shop}", routes=[Route("/orders/{order:int}", order)])
app = Starlette(routes=[orders, Route("/fails", fails)])
"""
DJANGO = """
import django
from django.conf import settings
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None, MIDDLEWARE=[], DEBUG=False
)
django.setup()
from django.http import HttpResponse
from django.urls import include, path
def order(request, shop, order):
    return HttpResponse(f"{shop} {order}")
def sell():
    raise LookupError("out of stock")
def fails(request):
    sell()
urlpatterns = [path("shops/<shop>/", include([path("orders/<int:order>", order)])), path("fails", fails)]
"""
WSGI = DJANGO + "from django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()\n"
ASGI = DJANGO + "from django.core.asgi import get_asgi_application\napp = get_asgi_application()\n"
POWERTOOLS = """
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import Router
app, orders = APIGatewayHttpResolver(), Router()
@orders.get("/orders/<order>")
def order(shop, order):
    return Response(200, "text/plain", f"{shop} {order}")
app.include_router(orders, prefix="/shops/<shop>")
def sell():
    raise LookupError("out of stock")
@app.get("/fails")
def fails():
    sell()
@app.exception_handler(LookupError)
def answer(error):
    return Response(500, "text/plain", "sorry")
def handler(event, context):
    return app.resolve(event, context)
"""
APIG_WSGI = "from apig_wsgi import make_lambda_handler\nhandler = make_lambda_handler(app)\n"
SERVERLESS_WSGI = (
    "import serverless_wsgi\ndef handler(event, context):\n"
    "    return serverless_wsgi.handle_request(app, event, context)\n"
)
AWS_WSGI = "import awsgi\ndef handler(event, context):\n    return awsgi.response(app, event, context)\n"
MANGUM = 'from mangum import Mangum\nhandler = Mangum(app, lifespan="off")\n'
FLASK_ROUTE, BRACES, DJANGO_ROUTE = (
    "/shops/<shop>/orders/<int:order>",
    "/shops/{shop}/orders/{order}",
    "/shops/<shop>/orders/<int:order>",
)
CASES = {
    "Flask, apig-wsgi": (FLASK + APIG_WSGI, FLASK_ROUTE, (http_api, rest_api)),
    "Flask, serverless-wsgi": (FLASK + SERVERLESS_WSGI, FLASK_ROUTE, (http_api, rest_api)),
    "Flask, aws-wsgi": (FLASK + AWS_WSGI, FLASK_ROUTE, (rest_api,)),
    "FastAPI, Mangum": (FASTAPI + MANGUM, BRACES, (http_api, rest_api)),
    "Starlette, Mangum": (STARLETTE + MANGUM, "/shops/{shop}/orders/{order:int}", (http_api, rest_api)),
    "Django, apig-wsgi": (WSGI + APIG_WSGI, DJANGO_ROUTE, (http_api, rest_api)),
    "Django, Mangum": (ASGI + MANGUM, DJANGO_ROUTE, (http_api,)),
    "Powertools": (POWERTOOLS, "/shops/<shop>/orders/<order>", (http_api,)),
}
AGES = ["web", "web-oldest"]


def sources(case: str, age: str) -> str:
    if case == "Powertools":
        if age != "web" or not has("aws_lambda_powertools"):
            pytest.skip("Powertools is among the runtime's packages, in one version, from Python 3.10 on")
        return CASES[case][0]
    if age == "web-oldest" and minor_version() > 11:
        pytest.skip("the oldest import what later versions of Python have not")
    if minor_version() > 14 and case.startswith(("Flask", "FastAPI")):
        pytest.skip("what it needs has no wheel for this version")
    folders = [str(bundled(name)) for name in dict.fromkeys((age, "web"))]
    return f"import sys\nsys.path[:0] = {folders!r}\n" + CASES[case][0]


def minor_version() -> int:
    return int(version().partition(".")[2])


def ask(function: Function, event: dict[str, Any]) -> tuple[int, str]:
    answer = function.invoke(event)
    assert answer.path.endswith("/response"), answer.body
    return int(answer.json["statusCode"]), json.dumps(answer.json.get("body"))


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("case", CASES)
def test_the_route_and_the_error_are_on_the_handlers_span(start: Start, case: str, age: str) -> None:
    source = sources(case, age)
    _, route, events = CASES[case]
    answers: dict[bool, list[tuple[int, str]]] = {}
    for layer in (False, True):
        with start(source, layer=layer) as function:
            given = [event(path) for event in events for path in ("/shops/a/orders/7", "/fails", "/nowhere")]
            answers[layer] = [ask(function, event) for event in given]
            if layer:
                function.frames.wait_for(5, len(given))
            assert "[otel-xray]" not in function.output()
    assert answers[True] == answers[False]
    assert [status for status, _ in answers[True]] == [200, 500, 404] * len(events)
    roots = function.frames.ended()
    assert len(roots) == len(given)
    assert {span.name for span in function.frames.started()} == {"app.handler"}
    for at, event in enumerate(events):
        found, failed, nowhere = roots[3 * at : 3 * at + 3]
        assert (found.name, attributes(found)["http.route"]) == (f"GET {route}", route)
        assert (found.status.code, len(found.events)) == (0, 0)
        assert (failed.name, attributes(failed)["http.route"]) == ("GET /fails", "/fails")
        without = None if event is http_api else "/{proxy+}"
        assert (nowhere.name, attributes(nowhere).get("http.route")) == ("app.handler", without)
        assert (nowhere.status.code, len(nowhere.events)) == (0, 0)
        assert (failed.status.code, failed.status.message, attributes(failed)["http.response.status_code"]) == (
            2,
            "out of stock",
            500,
        )
        (error,) = (attributes(event) for event in failed.events)
        assert (error["exception.type"], error["exception.message"]) == ("LookupError", "out of stock")
        stack = error["exception.stacktrace"]
        assert "in sell" in stack
        assert "in fails" in stack
        assert "_otel_xray_agent" not in stack


@pytest.mark.parametrize("case", ["Flask, apig-wsgi", "FastAPI, Mangum"])
def test_a_route_that_the_trigger_knows_stays(start: Start, case: str) -> None:
    with start(sources(case, "web")) as function:
        assert ask(function, rest_api("/shops/a/orders/7", "/shops/{s}/orders/{o}"))[0] == 200
        # Nothing asks, or nothing that is a request.
        function.invoke({"order": 1})
        function.frames.wait_for(5, 2)
    seen = [(span.name, attributes(span).get("http.route")) for span in function.frames.ended()]
    assert seen == [("GET /shops/{s}/orders/{o}", "/shops/{s}/orders/{o}"), ("app.handler", None)]


def test_a_name_that_the_function_gives_stays(start: Start) -> None:
    source = sources("Flask, apig-wsgi", "web") + (
        "from opentelemetry import trace\n"
        '@app.before_request\ndef rename():\n    trace.get_current_span().update_name("mine")\n'
    )
    with start(source) as function:
        assert ask(function, http_api("/shops/a/orders/7"))[0] == 200
        function.frames.wait_for(5, 1)
    span = function.frames.named("mine")
    assert attributes(span)["http.route"] == FLASK_ROUTE


def test_an_error_that_goes_on_is_said_once(start: Start) -> None:
    source = sources("Flask, apig-wsgi", "web") + 'app.config["PROPAGATE_EXCEPTIONS"] = True\n'
    answers = []
    for layer in (False, True):
        with start(source, layer=layer) as function:
            answers.append(function.invoke(http_api("/fails")).comparable)
            if layer:
                function.frames.wait_for(5, 1)
    assert answers[0] == answers[1]
    assert answers[1][0] == "error"
    (span,) = function.frames.ended()
    assert [attributes(event)["exception.type"] for event in span.events] == ["LookupError"]
    assert (span.status.code, span.status.message) == (2, "out of stock")


@pytest.mark.parametrize(
    ("name", "case"),
    [("flask", "Flask, apig-wsgi"), ("starlette", "Starlette, Mangum"), ("django", "Django, apig-wsgi")],
)
def test_disabled_by_name(start: Start, name: str, case: str) -> None:
    with start(sources(case, "web"), variables={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": name}) as function:
        assert [ask(function, http_api(path))[0] for path in ("/shops/a/orders/7", "/fails")] == [200, 500]
        function.frames.wait_for(5, 2)
    for span in function.frames.ended():
        assert (span.name, attributes(span).get("http.route")) == ("app.handler", None)
        assert not span.events
