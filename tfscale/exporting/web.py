"""A web page that runs an exported model in the browser by LiteRT.js: static files, nothing loaded
from elsewhere.

LiteRT.js (npm `@litertjs/core`, Apache-2.0) is fetched once from the npm registry, checked against
its digest, and copied into the page's folder.
"""

import base64
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from importlib import resources

from tfscale.errors import ExportError
from tfscale.files.paths import write_json
from tfscale.registry import TOKENIZERS
from tfscale.text.tokenizers import Tokenizer

VERSION = "2.5.3"
_PACKAGES = {
    "core": (
        "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ=="
    ),
    "wasm-utils": (
        "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ=="
    ),
}
# Where a file of a package goes: the build that every browser with relaxed SIMD takes, and the one
# for all others.
_FILES = {
    "core": {
        "dist/index.js": "litert.js",
        **{
            f"wasm/litert_wasm_{build}internal.{kind}": f"litert_wasm_{build}internal.{kind}"
            for build in ("", "compat_")
            for kind in ("js", "wasm")
        },
    },
    "wasm-utils": {"dist/index.js": "wasm-utils.js"},
}


def check_web(tokenizer: Tokenizer) -> None:
    """Refuses a tokenizer that the page has no code for.

    Raises:
        ExportError: names the kinds that it has.
    """
    if not tokenizer.on_page:
        kinds = ", ".join(kind.kind for kind in TOKENIZERS if kind.on_page)
        raise ExportError(f"the page has no tokenizer of kind {tokenizer.kind}; it has {kinds}")


def write_page(folder: str, tokenizer: Tokenizer) -> None:
    """Adds the page to a folder that holds model.tflite and model.json.

    Args:
        folder: gets index.html, page.js, tokenizer.js, tokenizer.json and litert/.
        tokenizer: the model's; see `check_web`.

    Raises:
        ExportError: LiteRT.js cannot be fetched, or is not what it was.
    """
    for name in ("index.html", "page.js", "tokenizer.js"):
        content = resources.files("tfscale.exporting").joinpath("page", name).read_bytes()
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    write_json(os.path.join(folder, "tokenizer.json"), tokenizer.page_vocabulary())
    runtime = os.path.join(folder, "litert")
    os.makedirs(runtime)
    for package, files in _FILES.items():
        with tarfile.open(fileobj=io.BytesIO(_fetch(package)), mode="r:gz") as archive:
            for inside, outside in files.items():
                source = archive.extractfile(f"package/{inside}")
                assert source is not None, inside
                with open(os.path.join(runtime, outside), "wb") as file:
                    shutil.copyfileobj(source, file)


def _fetch(package: str) -> bytes:
    """Returns the archive of a package, from the cache of this user or from the registry."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(home, "tfscale", f"litertjs-{package}-{VERSION}.tgz")
    if os.path.exists(path):
        with open(path, "rb") as file:
            content = file.read()
        if _digest(content) == _PACKAGES[package]:
            return content
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or os.environ.get("npm_config_registry")
    url = f"{(registry or 'https://registry.npmjs.org').rstrip('/')}/@litertjs/{package}/-/{package}-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise ExportError(
            f"LiteRT.js cannot be fetched from {url} ({getattr(error, 'reason', error)}); where"
            f" there is no network, put the file of `npm pack @litertjs/{package}@{VERSION}` at"
            f" {path}"
        ) from error
    if _digest(content) != _PACKAGES[package]:
        raise ExportError(f"{url} is not what it was: its digest is {_digest(content)[:20]}...")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as temporary:
        temporary.write(content)
    os.replace(temporary.name, path)
    return content


def _digest(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
