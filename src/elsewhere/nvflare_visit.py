"""A visit (`commands/visit.py`) as a job of NVFlare: the server gives every client the kit, and keeps what comes back.

`elsewhere kit --nvflare` writes the job. Needs the extra `nvflare` on the server and at every client. What a client's
scans are, and whether its return may leave, is said at the client alone, in an `elsewhere-visit.toml` (`VisitHere`).
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller, Task
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from elsewhere.commands.visit import visit
from elsewhere.errors import ElsewhereError
from elsewhere.files import short_name, write_whole
from elsewhere.studies.nvflare_job import HERE, KIT, TASK, WHERE, VisitHere, read_here

RETURN, REFUSAL = "return.json", "refusal"


def visit_here(kit: Path, here: VisitHere) -> bytes | None:
    """Run a kit on a client's scans; its return, which also lies in its folder `work`. None where it may not leave.

    Raises:
        ElsewhereError: as `visit`.
    """
    with TemporaryDirectory() as name:
        out = Path(name) / RETURN
        visit(
            kit,
            here.scans,
            kind=here.kind,
            labels=here.labels,
            option=list(here.option),
            hospital=here.hospital,
            out=out,
            work=here.work,
            digits=here.digits,
            yes=True,
        )
        content = out.read_bytes()
    write_whole(here.work / RETURN, content)
    return content if here.agreed else None


class VisitScans(Executor):
    """At a client: runs the job's kit on the scans that the client names, and sends the return, if it may leave.

    Errors stay in the client's own log: they can name scans.
    """

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:  # noqa: ARG002
        """The return as bytes, or why there is none, in words that tell of no scan."""
        place = fl_ctx.get_engine().get_workspace()
        kit = Path(place.get_app_config_dir(fl_ctx.get_job_id())) / KIT
        try:
            content = visit_here(kit, read_here(self._file(Path(place.get_site_config_dir()), fl_ctx)))
        except ElsewhereError as error:
            self.log_error(fl_ctx, str(error))
            return self._refuse("the visit failed; the client's log says why")
        if content is None:
            self.log_warning(fl_ctx, "the return was not sent: read it in `work`, and set agreed = true")
            return self._refuse("the return is kept at the client, which has not agreed to send it")
        reply = make_reply(ReturnCode.OK)
        reply[RETURN] = content
        return reply

    def _file(self, local: Path, fl_ctx: FLContext) -> Path:
        """`elsewhere-visit.toml` of the client; that of a folder of many (the simulator's clients) is CLIENT.toml."""
        given = os.environ.get(WHERE)
        return Path(given) / f"{fl_ctx.get_identity_name()}.toml" if given else local / HERE

    def _refuse(self, words: str) -> Shareable:
        reply = make_reply(ReturnCode.OK)
        reply[REFUSAL] = words
        return reply


class GatherReturns(Controller):
    """At the server: has every client run the visit, and writes `returns/CLIENT.json` into the job's folder.

    Args:
        timeout: seconds that all clients may take; 0 means any time.
    """

    def __init__(self, timeout: int = 0) -> None:
        super().__init__()
        self._timeout = timeout

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing has to be prepared."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing has to be put away."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Send the task, and wait for every client."""
        task = Task(TASK, Shareable(), timeout=self._timeout, result_received_cb=self._received)
        self.broadcast_and_wait(task, fl_ctx, min_responses=0, abort_signal=abort_signal)

    def _received(self, client_task: Any, fl_ctx: FLContext) -> None:
        name, result = client_task.client.name, client_task.result
        client_task.result = None
        if RETURN not in result:
            self.log_warning(fl_ctx, f"{name}: {result.get(REFUSAL, 'sent no return')}")
            return
        folder = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())) / "returns"
        write_whole(folder / f"{short_name(name)}.json", result[RETURN])
        self.log_info(fl_ctx, f"{name}: a return of {len(result[RETURN])} bytes")

    def process_result_of_unknown_task(self, *_: Any, **__: Any) -> None:
        """An answer to what nobody asked is not kept."""
