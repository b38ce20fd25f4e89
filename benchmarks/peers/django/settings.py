"""Django's settings, with only what the workloads need."""

from __future__ import annotations

import os

SECRET_KEY = "for a benchmark on this machine alone"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["strawberry_django", "directory"]
MIDDLEWARE = []
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates"]}]
if os.environ["DATABASE_URL"].startswith("sqlite"):
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DATABASE"],
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
        },
    }
else:
    from psycopg.conninfo import conninfo_to_dict

    parameters = conninfo_to_dict(os.environ["DATABASE_URL"])
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parameters.pop("dbname"),
        # Statements are prepared at their fifth execution, psycopg's default.
        "OPTIONS": {**parameters, "server_side_binding": True, "prepare_threshold": 5},
    }
DATABASES = {"default": {**database, "CONN_MAX_AGE": None}}
