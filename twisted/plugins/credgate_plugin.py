"""Register ``twistd credgate``. Imports only what names the plugin: the service is imported on demand."""

from twisted.application.service import ServiceMaker

credgate = ServiceMaker("credgate", "credgate.service.tap", "Give sandboxes git without credentials.", "credgate")
