"""How the program writes its log: a line of text or of JSON for each event, on stderr. Used by the entry point.

What is logged holds no address and no name of anybody (`debug` may): who asked for whom is nobody's business.
"""

import json
import logging
import time
import traceback
from typing import Final, Literal

Format = Literal["text", "json"]
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str, form: Format) -> None:
    """Log from this level on, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    for name in ("engineio.server", "socketio.server"):  # or they would write lines of their own form beside ours
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class JsonFormatter(logging.Formatter):
    """One object on one line: `time` (RFC 3339, UTC), `level`, `logger`, `process`, `message`, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        value = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            value["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(value, ensure_ascii=False, default=str)
