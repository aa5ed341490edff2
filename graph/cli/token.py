"""`omnirelay token`."""

import time
from pathlib import Path

import click

from graph.auth.principal import Scope
from graph.cli.errors import Exit, Failure
from graph.cli.options import config_option, settings_from


@click.group()
def token() -> None:
    """Bearer tokens, where the server's settings hold the secret that they are signed with."""


@token.command()
@click.option("--subject", required=True, help="Who it is for: the actor of the changes made with it.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it allows. May be repeated; without any, nothing.",
)
@click.option(
    "--minutes", type=click.IntRange(1, 525_600), default=60, show_default=True, help="How long it is good, in minutes."
)
@config_option
def issue(*, subject: str, scopes: tuple[str, ...], minutes: int, config: Path | None) -> None:
    """Sign a token with the secret of the settings (auth_secret_file, auth_secret), and write it to stdout.

    For a mesh without an identity provider, and for trying things out. With a JWKS file tokens come from elsewhere.
    """
    settings = settings_from(config, Exit.INVALID)
    # Imported here: clients need not load what signs.
    import jwt  # noqa: PLC0415 - see above

    from graph.auth.keys import signing_key  # noqa: PLC0415 - see above
    from graph.settings import SettingsError  # noqa: PLC0415 - see above
    from persistence.model.fields import line_problem  # noqa: PLC0415 - see above

    if problem := line_problem(subject):
        raise click.UsageError(f"--subject {problem}.")
    try:
        (key,) = signing_key(settings)
    except SettingsError as error:
        raise Failure(Exit.INVALID, "There is no secret to sign with:", [f"  {error}"]) from error
    now = int(time.time())
    claims = {"sub": subject, "scope": " ".join(scopes), "iat": now, "exp": now + 60 * minutes}
    named = {"iss": settings.auth_issuer, "aud": settings.auth_audience}
    claims |= {claim: name for claim, name in named.items() if name is not None}
    click.echo(jwt.encode(claims, key, algorithm=key.algorithm_name))
