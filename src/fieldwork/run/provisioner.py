"""How Jupyter gets a kernel that is forked from `forking`'s server: a provisioner, found by its entry point."""

from __future__ import annotations

import logging
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from fieldwork.run import forking, lifeline

__all__ = ["ForkedProvisioner"]

logger = logging.getLogger(__name__)
_TRIES = 2


class ForkedProvisioner(LocalProvisioner):
    """A local kernel that is forked instead of started; started from nothing where it cannot be forked."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:  # noqa: ANN401 - jupyter's
        """Fork a kernel for a command that `lifeline.tied` begins; return the connection."""
        kernel = _forked(cmd[len(lifeline.tied("")) :], options)
        if kernel is None:
            return await super().launch_kernel(cmd, **options)
        self.process = kernel  # type: ignore[assignment]  # it is to a provisioner what a Popen is
        self.pid = self.pgid = kernel.pid
        self.cwd = options["cwd"]
        return self.connection_info


def _forked(arguments: list[str], options: dict[str, Any]) -> forking.Forked | None:
    # A server that has gone is found out by asking it: the second try asks another one.
    for _ in range(_TRIES):
        server = forking.server(options["env"])
        if server is None:
            return None
        try:
            return server.fork(arguments, str(options["cwd"]), options["env"], options["stdout"].fileno())
        except ConnectionError:
            continue
        except OSError as error:
            logger.warning("a kernel starts from nothing: %s", error)
            return None
    logger.warning("a kernel starts from nothing: its server has gone twice")
    return None
