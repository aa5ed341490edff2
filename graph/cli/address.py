"""Where a server is, as an option of commands."""

import click

from graph.client.address import Address, read_address


class AddressParameter(click.ParamType[Address, object]):
    name = "url"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return value if isinstance(value, Address) else read_address(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
