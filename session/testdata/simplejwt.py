"""Records what the real djangorestframework-simplejwt answers, for TestSimpleJWT_AnswersAsTheRealPackage.

    python3 simplejwt.py >new.json && mv new.json simplejwt.json

It needs Django, Django REST framework and djangorestframework-simplejwt. The recorded
answers are those of Debian 12: 3.2.25, 3.14.0 and 5.2.2.
"""
import datetime
import json
import sys

import django
from django.conf import settings

sys.modules["urls"] = sys.modules["__main__"]
settings.configure(
    SECRET_KEY="k" * 60,
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    ROOT_URLCONF="urls",
    LOGGING_CONFIG=None,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt",
        "rest_framework_simplejwt.token_blacklist",
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    },
    SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True},
)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt import views
from rest_framework_simplejwt.tokens import RefreshToken


class Me(APIView):
    def get(self, request):
        return Response({"user": request.user.username})


urlpatterns = [
    path("create/", views.TokenObtainPairView.as_view()),
    path("refresh/", views.TokenRefreshView.as_view()),
    path("verify/", views.TokenVerifyView.as_view()),
    path("blacklist/", views.TokenBlacklistView.as_view()),
    path("me/", Me.as_view()),
]

call_command("migrate", verbosity=0)
alice = User.objects.create_user("alice@example.com", password="wonderland")
User.objects.create_user("gone", password="x", is_active=False)
User.objects.create_user("12", password="34")


def tokens():
    """Returns the tokens that stand for $names in a request."""
    live, blacklisted, old = (RefreshToken.for_user(alice) for _ in range(3))
    blacklisted.blacklist()
    old.set_exp(lifetime=-datetime.timedelta(1))
    old_access = RefreshToken.for_user(alice).access_token
    old_access.set_exp(lifetime=-datetime.timedelta(1))
    access = str(live.access_token)
    return {
        "$expired_refresh": str(old),
        "$expired_access": str(old_access),
        "$blacklisted": str(blacklisted),
        "$tampered": access[:-4] + "AAAA",
        "$refresh": str(live),
        "$access": access,
    }


def record(request):
    known = tokens()

    def fill(text):
        for name, token in known.items():
            text = text.replace(name, token)
        return text

    fields = {} if request["auth"] is None else {"HTTP_AUTHORIZATION": fill(request["auth"])}
    body = "" if request["body"] is None else fill(request["body"])
    kind = "application/octet-stream" if request["body"] is None else request["type"]
    response = Client().generic(request["method"], "/" + request["path"], body, content_type=kind, **fields)
    answer = json.loads(response.content)
    for name in ("access", "refresh"):
        if isinstance(answer, dict) and isinstance(answer.get(name), str):
            answer[name] = "TOKEN"
    return {**request, "status": response.status_code, "www": response.get("WWW-Authenticate", ""), "answer": answer}


# The requests are those of the file that is there. To add one, add it there without an
# answer, and record all again.
with open("simplejwt.json") as file:
    requests = [{k: r[k] for k in ("name", "method", "path", "body", "type", "auth")} for r in json.load(file)]
print(json.dumps([record(r) for r in requests], indent=1))
