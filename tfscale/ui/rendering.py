"""Pages and Markdown files, made of the templates in the `templates` folder of a package."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


def format_cell(value: object) -> str:
    """Returns a value as a table shows it: 1234567 as 1,234,567, None as a dash.

    Example:
        format_cell(0.000123456), format_cell(1234.5)    # "0.0001235", "1,234"
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


_FILTERS: dict[str, Callable[..., str]] = {
    "cell": format_cell,
    "repr": repr,
    "thousands": "{:,}".format,
    "significant": "{:.4g}".format,
    "hundredths": "{:.2f}".format,
}


def render(package: str, template: str, **values: object) -> str:
    """Returns the text of a template.

    Args:
        package: package with a folder `templates`, such as "tfscale.ui".
        template: name of the file in it; values are escaped in .html.j2 files alone.
        **values: what the template names.

    Example:
        render("tfscale.exporting", "web.md.j2")
    """
    return (
        _environment(package, template.endswith(".html.j2")).get_template(template).render(values)
    )


@functools.cache
def _environment(package: str, html: bool) -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= _FILTERS
    return environment
