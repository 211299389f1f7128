"""The extension of each architecture's zip registers, receives and flushes; the other architecture's under qemu."""

from __future__ import annotations

import os
import queue
import subprocess
import time
import uuid
from pathlib import Path

import frames
import layer_zip
import plan
import pytest
from installed import tool
from servers import BOUND_S, ExtensionsApi, XRay, serving

PARENT = "53995c3f42cd8ad8"


def emulator(arch: str) -> list[str]:
    """What has to stand before a program of this architecture."""
    if arch == layer_zip.HOST_ARCH:
        return []
    cpu = {"x86_64": "x86_64", "arm64": "aarch64"}[arch]
    return [str(tool("qemu", cpu))]


@pytest.mark.parametrize("arch", sorted(plan.MACHINES))
def test_registers_receives_flushes(arch: str, tmp_path: Path) -> None:
    opt = layer_zip.unpack(layer_zip.zip_for(arch), tmp_path / "opt")
    api, xray = ExtensionsApi(), XRay()
    name = f"smoke-{uuid.uuid4()}"
    trace_id = f"{int(time.time()):08x}" + "a" * 24
    header = f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={PARENT};Sampled=1"
    span_id = os.urandom(8)
    with serving(api.handler()) as api_address, serving(xray.handler()) as xray_address:
        environment = {
            "AWS_LAMBDA_RUNTIME_API": api_address,
            "AWS_ENDPOINT_URL_XRAY": f"http://{xray_address}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "token",
            "AWS_LAMBDA_FUNCTION_NAME": "smoke",
            "OTEL_XRAY_AGENT_SOCKET": name,
            "OTEL_XRAY_OTLP_HTTP": "off",
            "OTEL_XRAY_OTLP_GRPC": "off",
            "OTEL_XRAY_DAEMON": "off",
            "OTEL_XRAY_TRACING_MODE": "active",
            # Not what another has left in /tmp.
            "OTEL_XRAY_SPOOL": str(tmp_path / "spool"),
            # Emulated code is slow; how long a flush takes is not looked at here.
            "OTEL_XRAY_FLUSH_TIMEOUT_MS": "60000",
        }
        extension = subprocess.Popen(
            [*emulator(arch), opt / plan.EXTENSION], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            registered = api.registered.get(timeout=BOUND_S)
            assert registered["name"] == "otel-xray"
            assert set(registered["events"]) == {"INVOKE", "SHUTDOWN"}
            api.next_calls.get(timeout=BOUND_S)
            with frames.connect(name) as agent:
                agent.sendall(frames.hello())
                deadline_ms = int((time.time() + BOUND_S) * 1000)
                api.send(
                    {
                        "eventType": "INVOKE",
                        "deadlineMs": deadline_ms,
                        "requestId": "smoke-1",
                        "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:smoke",
                        "tracing": {"type": "X-Amzn-Trace-Id", "value": header},
                    }
                )
                ids = (bytes.fromhex(trace_id), span_id, bytes.fromhex(PARENT))
                agent.sendall(frames.invoke("smoke-1", header, deadline_ms))
                agent.sendall(frames.span(frames.START, *ids, "app.handler", ended=False))
                agent.sendall(frames.span(frames.END, *ids, "app.handler", ended=True))
                agent.sendall(frames.done("smoke-1"))
                # The flush comes before the `next` that ends the invocation (T-2).
                api.next_calls.get(timeout=BOUND_S)
                assert xray.requests.qsize() == 1
                authorization, documents = xray.requests.get_nowait()
                api.send({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline_ms})
                assert extension.wait(timeout=BOUND_S) == 0
        except (AssertionError, queue.Empty, OSError, subprocess.TimeoutExpired) as error:
            extension.kill()
            said = extension.communicate()[0].decode(errors="replace")
            raise AssertionError(f"{type(error).__name__}: {error}; the extension said:\n{said}") from error
        finally:
            extension.kill()
            extension.wait()
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert [document["id"] for document in documents] == [span_id.hex()]
    assert documents[0]["trace_id"] == f"1-{trace_id[:8]}-{trace_id[8:]}"
    assert (documents[0]["parent_id"], documents[0]["name"]) == (PARENT, "app.handler")
    assert api.errors == []


@pytest.mark.parametrize("arch", sorted(plan.MACHINES))
def test_the_wrapper_becomes_the_runtime_with_the_agent(arch: str, tmp_path: Path) -> None:
    opt = layer_zip.unpack(layer_zip.zip_for(arch), tmp_path / "opt")
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
    node.chmod(0o755)
    command = [*emulator(arch), opt / plan.WRAPPER, node, "--flag", "a b", ""]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=BOUND_S, check=True)
    assert (done.stdout, done.stderr) == (f"--require|{opt}/{plan.NODEJS_AGENT}/main.js|--flag|a b||", "")
