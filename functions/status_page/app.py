"""The page and the API as one Flask app; only GET and HEAD, and no cookies."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from functions.status_page import api, pages
from functions.status_page.answers import as_json, finish
from functions.status_page.problems import PROBLEM_TYPE, problem_of
from functions.status_page.words import ENGLISH, words
from shared.events import Event
from shared.logging import log_event

if TYPE_CHECKING:
    from functions.status_page.services import Services

# What programs ask for; everything else is a page.
FOR_PROGRAMS = ("/api/", "/healthz", "/openapi.json")

# A page asks for what is new this often.
POLL_SECONDS = 15


def new_app(services: Services) -> Flask:
    """All routes, with the errors and the headers that they have in common."""
    app = Flask("status_page", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # In the cloud TLS ends before us: only this header tells that a URL is https.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=1)  # type: ignore[method-assign]
    app.register_blueprint(api.blueprint(services))
    app.register_blueprint(pages.blueprint(services))
    app.register_error_handler(Exception, _failed)
    app.after_request(finish)
    return app


def _failed(error: Exception) -> Response:
    if request.path.startswith(FOR_PROGRAMS):
        problem = problem_of(error, words(ENGLISH))
        body, _ = as_json(problem.as_dict())
        response = Response(body, problem.status, content_type=PROBLEM_TYPE)
    else:
        response, problem = pages.problem_page(error)
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            # What cannot say now asks again by itself, also without scripts.
            response.headers["Refresh"] = str(POLL_SECONDS)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logging.getLogger(__name__).error("a bug", exc_info=error)
        log_event(Event.UNFORESEEN, severity=logging.ERROR, reason=type(error).__name__)
    response.headers.update(problem.headers)
    if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "GET, HEAD"
    return response
