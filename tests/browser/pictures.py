"""Makes the pictures of docs/images: `python tests/browser/pictures.py`. The scene is that of the browser tests."""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import CHROMIUM, FLAGS, WIDE
from playwright.sync_api import sync_playwright
from serving import serving

from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state.database import Database
from celeriac.state.migrate import migrate

HEIGHT = 680  # of the part of the page that is shown
IMAGES = Path(__file__).parents[2] / "docs" / "images"
PICTURES: dict[str, tuple[str, str] | tuple[str, str, int]] = {  # path, theme, height
    "overview": ("/", "light"),
    "runs": ("/runs?q=status:failed,timed_out,crashed created:>24h", "dark"),
    "workflow": ("/workflows/fulfil-order", "light"),
    "run": ("/runs/{approval}?step=approval", "light", 880),
    "diff": ("/runs/{before}/diff?with={declined}", "light"),
    "queue": ("/queues/send-newsletter", "dark"),
    "schedule": ("/schedules/{schedule}", "light"),
    "errors": ("/errors", "dark"),
    "alert": ("/errors/alerts/ops", "light"),
    "logs": ("/logs", "dark"),
    "reference": ("/docs", "light"),
}


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as postgres,
        EmbeddedRedis(Path(folder) / "redis", appendonly=False) as redis,
        sync_playwright() as playwright,
    ):
        database = Database(postgres.url)
        migrate(database)
        database.close()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        with serving(postgres.url, redis.url, strange=False) as site:
            for name, (path, scheme, *height) in PICTURES.items():
                page = browser.new_context(viewport=WIDE, color_scheme=scheme).new_page()
                page.goto(site.url + path.format(**asdict(site.scene)))
                page.wait_for_timeout(500)
                page.screenshot(
                    path=IMAGES / f"{name}.png", clip={"x": 0, "y": 0, "width": 1280, "height": (height or [HEIGHT])[0]}
                )
        browser.close()


if __name__ == "__main__":
    main()
