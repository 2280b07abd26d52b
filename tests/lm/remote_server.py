"""A small server of the completions API over one of padlab's tiny models, in the forms of three servers, with faults.

form "vllm":    prompts are token ids, `prompt_logprobs`, tokens named "token_id:N"
form "llama":   llama-cpp-python: prompts are text, `echo`; no BOS in the lists, control tokens without text,
                log-probabilities shifted by one where a prompt does not begin with BOS, as version 0.3.36 does
form "openai":  prompts are text, `echo`; every token listed, the first without a number
form "none":    takes token ids, gives no log-probabilities (llama.cpp's own server)
"""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from padlab.lm.chat import stop_ids

SILENCE, CLOSE, DRIP = "silence", "close", "drip"


class RemoteServer:
    """`url` for load_model; `requests`: the bodies received so far; `faults`: what to do instead, one per request."""

    def __init__(self, model, form="vllm", *, adds_bos=False, knows_wanted=True, length=1024, delays=()):
        self.network, self.tokenizer, self.form = model.model, model.tokenizer, form
        self.adds_bos, self.knows_wanted, self.length, self.delays = adds_bos, knows_wanted, length, list(delays)
        self.requests, self.keys, self.faults, self.edit = [], [], [], lambda reply: reply
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"openai:http://127.0.0.1:{self.http.server_port}/v1#tiny"

    def settle(self):
        """Wait until the requests that were under way when something failed have come in."""
        count = -1
        while count < len(self.requests):
            count = len(self.requests)
            time.sleep(0.2)

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def reply(self, status, value, headers=()):
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in headers:
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def drip(self):
                """White space, which JSON allows, a bit at a time and without end."""
                self.send_response(200)
                self.end_headers()
                with suppress(OSError):
                    for _ in range(100):
                        self.wfile.write(b" ")
                        time.sleep(0.05)

            def do_GET(self):
                server.keys.append(self.headers.get("Authorization"))
                replies = {"/version": {"version": "0.0-test"}, "/v1/models": {"data": [server.entry()]}}
                self.reply(*((200, replies[self.path]) if self.path in replies else (404, {})))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.keys.append(self.headers.get("Authorization"))
                with server.lock:
                    server.requests.append(body)
                    fault = server.faults.pop(0) if server.faults else None
                    delay = server.delays.pop(0) if server.delays else 0
                time.sleep(delay)
                if fault == SILENCE:
                    time.sleep(2)
                if fault == DRIP:
                    self.drip()
                if fault in (SILENCE, CLOSE, DRIP):
                    self.close_connection = True
                    return
                try:
                    self.reply(*(fault or (200, server.edit(server.complete(body)))))
                except (TypeError, IndexError) as error:
                    self.reply(500, {"error": {"message": f"validation error: {error}"}})
                except BrokenPipeError:
                    pass

        return Handler

    def entry(self):
        return {"id": "tiny"} if self.form != "vllm" else {"id": "tiny", "max_model_len": self.length}

    def complete(self, body):
        if isinstance(body["prompt"], list) != (self.form in ("vllm", "none")):
            raise TypeError(f"prompt is a {type(body['prompt']).__name__}")
        ids = body["prompt"]
        if isinstance(ids, str):
            bos = [self.tokenizer.bos_token_id] if self.adds_bos else []
            ids = bos + self.tokenizer(ids, add_special_tokens=False)["input_ids"]
        written, rows, ended = self.write(ids, body)
        if self.form == "llama" and ended:  # it does not count the token that ends an answer
            written, rows = written[:-1], rows[:-1] if len(written) > 1 else rows
        choice = {"index": 0, "finish_reason": "stop" if ended else "length"}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(written)}
        if self.form == "vllm":
            choice |= self.as_token_ids(ids, written, rows, body)
        elif self.form != "none":
            choice |= self.as_text(ids, written, rows, body)
        return {"choices": [choice], "usage": usage}

    @torch.no_grad()
    def write(self, ids, body):
        """Tokens written, the log-probabilities before each position of prompt and answer, whether it ended itself."""
        random = torch.Generator().manual_seed(body.get("seed", 0))
        stops = stop_ids(self.network, self.tokenizer) | set(body.get("stop_token_ids", []))
        ids, written, ended = list(ids), [], False
        with self.lock:
            while len(written) < body["max_tokens"] and not ended:
                rows = self.network(torch.tensor([ids])).logits[0].float().log_softmax(-1)
                last = (rows[-1] / (body["temperature"] or 1e-4)).softmax(-1)
                token = torch.multinomial(last, 1, generator=random)
                ended = int(token) in stops
                ids, written = [*ids, int(token)], [*written, int(token)]
        return written, rows.tolist(), ended

    def as_token_ids(self, ids, written, rows, body):
        found = {"text": "", "prompt_logprobs": None}
        if body.get("prompt_logprobs") is not None:
            named = [
                {str(i): {"logprob": row[i], "decoded_token": self.tokenizer.decode([i])}}
                for i, row in zip(ids[1:], rows, strict=False)
            ]
            found["prompt_logprobs"] = [None, *named]
        if body.get("logprobs") is not None:
            wanted = body.get("logprob_token_ids") if self.knows_wanted else None
            tops = [wanted or best(row, body["logprobs"]) for row in rows[len(ids) - 1 :]]
            tops = [
                {f"token_id:{i}": row[i] for i in [*top, token]}
                for top, row, token in zip(tops, rows[len(ids) - 1 :], written, strict=True)
            ]
            found["logprobs"] = {"tokens": [f"token_id:{i}" for i in written], "top_logprobs": tops}
        return found

    def as_text(self, ids, written, rows, body):
        bos, llama = self.tokenizer.bos_token_id, self.form == "llama"
        control = set(self.tokenizer.all_special_ids) if llama else set()
        text = lambda i: "" if i in control else self.tokenizer.decode([i]).replace("\ufffd", "")  # noqa: E731
        shown = [i for i in written if i not in stop_ids(self.network, self.tokenizer)]
        found = {"text": self.tokenizer.decode(shown, errors="ignore")}
        if body.get("logprobs") is None:
            return found
        listed = [*ids[1 if llama and ids[0] == bos else 0 :], *written] if body.get("echo") else written
        rows = rows if body.get("echo") else rows[len(ids) - 1 :]
        rows = [None, *rows] if body.get("echo") and not llama else rows
        kept = [(i, row) for i, row in zip(listed, rows, strict=False) if i != bos or not llama]
        return found | {
            "logprobs": {
                "tokens": [text(i) for i, _ in kept],
                "token_logprobs": [row and row[i] for i, row in kept],
                "top_logprobs": [row and {text(i): row[i] for i in best(row, body["logprobs"])} for _, row in kept],
            }
        }


def best(row, count):
    """The ids of the most likely tokens."""
    return sorted(range(len(row)), key=row.__getitem__, reverse=True)[:count]
