"""`luce serve` against a scikit-learn pipeline behind FastAPI and uvicorn, on the same rows in the same run, by wrk.

    ./dev bench serve [--seconds 3] [--repeat 3] [--skip-rival]      needs wrk (apt-get install wrk) and taskset

30 columns (24 numbers, 4 categories, 2 truth values), 3 classes, 20,000 rows made up by a seed. Each server has core 0
to itself, wrk core 1. luce serves the model of its defaults (`bent`: curves and pairs where they pay) and one of
effects="linear" (`straight`), which is what the pipeline is: standardised numbers, one-hot levels, LogisticRegression.
The rival checks its body by pydantic, makes a data frame of it, and answers from a plain function (in FastAPI's
threads). Figures are medians of --repeat interleaved runs. Then, of luce alone: ten times the clients that it takes to
be busy (bench/crowd.py), files replaced under load, a stop under load.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

import luce

OUT = Path(__file__).resolve().parent / "out"
ROWS, BATCH, CLIENTS = 20_000, 1_000, 16
NUMBERS, CATEGORIES, FLAGS = 24, 4, 2

RIVAL = """
import sys, joblib, pandas as pd, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

class Query(BaseModel):
    rows: list[dict[str, float | bool | str | None]]

app, model = FastAPI(), joblib.load(sys.argv[1])

@app.get("/ready")
def ready():
    return {"ready": True}

@app.post("/predict")
def predict(query: Query):
    frame = pd.DataFrame(query.rows)
    p = model.predict_proba(frame)
    return {"answers": model.classes_[p.argmax(axis=1)].tolist(), "probabilities": p.tolist()}

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
    local e = summary.errors
    local form = '"requests": %%d, "seconds": %%f, "p50": %%f, "p99": %%f, "refused": %%d, "broken": %%d'
    io.write(string.format("JSON {" .. form .. "}\\n", summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def made_up() -> tuple[dict[str, list], list[str]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, NUMBERS)).round(3)
    data: dict[str, list] = {f"number {i}": x[:, i].tolist() for i in range(NUMBERS)}
    data |= {f"kind {i}": rng.choice(["alpha", "beta", "gamma", "delta"], ROWS).tolist() for i in range(CATEGORIES)}
    data |= {f"flag {i}": (rng.random(ROWS) < 0.5).tolist() for i in range(FLAGS)}
    score = np.stack([x[:, 0] + x[:, 3], x[:, 1] ** 2, 2 * x[:, 2] + (np.array(data["kind 0"]) == "beta")], axis=1)
    label = np.array(["no", "yes", "maybe"])[(score + rng.gumbel(size=score.shape)).argmax(axis=1)]
    return data, label.tolist()


def files(folder: Path) -> dict[str, Path]:
    """Models and bodies."""
    data, label = made_up()
    for name, effects in (("bent", "auto"), ("straight", "linear")):
        luce.Classifier(effects=effects).fit(data, label).save(folder / f"{name}.luce")
    for name, rows in (("one", 1), ("many", BATCH)):
        body = json.dumps({"rows": [{column: cells[i] for column, cells in data.items()} for i in range(rows)]})
        (folder / f"{name}.json").write_text(body)
        (folder / f"{name}.lua").write_text(LUA % (folder / f"{name}.json"))
    return {path.stem: path for path in folder.glob("*.luce")}


def rival_file(folder: Path) -> Path:
    import joblib
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    data, label = made_up()
    frame = pd.DataFrame(data)
    kinds = [name for name in data if name.startswith("kind")]
    numbers = [name for name in data if not name.startswith("kind")]
    steps = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), kinds))
    model = make_pipeline(steps, LogisticRegression(max_iter=1000)).fit(frame, label)
    joblib.dump(model, folder / "rival.joblib")
    (folder / "rival.py").write_text(RIVAL)
    return folder / "rival.joblib"


class Server:
    """A process on core 0, from its start until it is ready."""

    def __init__(self, command: list[object], port: int, ready: str) -> None:
        self.port, began = port, time.perf_counter()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process lives
        self.process = subprocess.Popen(["taskset", "-c", "0", *map(str, command)], stderr=self.log, stdout=self.log)
        atexit.register(self.process.kill)
        while not self.answers(ready) or self.process.poll() is not None:
            if self.process.poll() is not None or time.perf_counter() - began > 60:
                self.log.seek(0)
                sys.exit(f"a server did not start: {self.log.read().decode()[-500:]}")
            time.sleep(0.002)
        self.start = time.perf_counter() - began

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    @property
    def memory(self) -> float:
        """MiB that it holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024

    def wrk(self, lua: Path, path: str, clients: int, seconds: int) -> dict:
        done = subprocess.run(self.load(lua, path, clients, seconds), capture_output=True, text=True, check=True)
        return json.loads(done.stdout.split("JSON ")[1])

    def load(self, lua: Path, path: str, clients: int, seconds: int) -> list[object]:
        """wrk's command."""
        settings = ["-t1", f"-c{clients}", f"-d{seconds}s", "-s", lua]
        return ["taskset", "-c", "1", "wrk", *settings, f"http://127.0.0.1:{self.port}{path}"]

    def crowd(self, body: Path, path: str, clients: int, seconds: int, heeds: int) -> dict:
        crowd = Path(__file__).with_name("crowd.py")
        command = ["taskset", "-c", "1", sys.executable, crowd, self.port, path, body, clients, seconds, heeds]
        return json.loads(subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout)

    def stop(self) -> float:
        """Seconds until it is gone."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        return time.perf_counter() - began


def luce_server(models: dict[str, Path], port: int) -> Server:
    return Server([sys.executable, "-m", "luce", "serve", *models.values(), "--port", port], port, "/v2/health/ready")


def measured(server: Server, path: str, folder: Path, seconds: int) -> dict:
    one, busy = server.wrk(folder / "one.lua", path, 1, seconds), server.wrk(folder / "one.lua", path, CLIENTS, seconds)
    many = server.wrk(folder / "many.lua", path, 1, seconds)
    wrong = sum(each["refused"] + each["broken"] for each in (one, busy, many))
    return {
        "one client, p50 ms": one["p50"], "one client, p99 ms": one["p99"],
        f"{CLIENTS} clients, requests/s": busy["requests"] / busy["seconds"], f"{CLIENTS} clients, p99 ms": busy["p99"],
        f"{BATCH} rows, p50 ms": many["p50"], f"{BATCH} rows, rows/s": BATCH * many["requests"] / many["seconds"],
        "failed": wrong,
    }  # fmt: skip


def trials(models: dict[str, Path], folder: Path, seconds: int) -> dict:
    """Of luce alone: too many clients, files replaced under load, a stop under load."""
    server = luce_server(models, 8797)
    path = "/v1/models/straight/predict"
    out = {}
    crowds = {"full": (CLIENTS, 1), "10 x": (10 * CLIENTS, 1), "10 x, who ask again at once": (10 * CLIENTS, 0),
              "900": (900, 1)}  # fmt: skip
    for name, (clients, heeds) in crowds.items():
        found = server.crowd(folder / "one.json", path, clients, seconds, heeds)
        out |= {f"{name}, {key}": value for key, value in found.items()}
    began = time.perf_counter()
    server.answers("/v2/health/live")
    out["answered after the flood, ms"] = 1000 * (time.perf_counter() - began)
    lua = [folder / "one.lua", path, CLIENTS, seconds + 3]
    good = models["straight"].read_bytes()
    replacer = subprocess.Popen(
        [sys.executable, "-c", "import sys,time,os,pathlib\np=pathlib.Path(sys.argv[1]);d=p.read_bytes()\n"
         "for i in range(int(sys.argv[2])):\n time.sleep(1.2);q=p.with_suffix('.new')\n"
         " q.write_bytes(d if i%2 else d[:-9]);os.replace(q,p)",
         str(models["straight"]), str(int(seconds / 1.2) + 1)]
    )  # fmt: skip
    swapped = server.wrk(*lua)
    replacer.wait()
    models["straight"].write_bytes(good)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as reply:
        counts = dict(re.findall(r'luce_events_total\{event="([^"]+)"\} (\d+)', reply.read().decode()))
    out |= {
        "replaced under load, failed": swapped["refused"] + swapped["broken"],
        **{k: int(v) for k, v in counts.items()},
    }
    load = subprocess.Popen(server.load(folder / "one.lua", path, CLIENTS, 4), stdout=subprocess.DEVNULL)
    time.sleep(1)
    out["stop under load, s"] = server.stop()
    out["stop under load, status"] = server.process.returncode
    load.wait()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--skip-rival", action="store_true")
    asked = parser.parse_args()
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = files(folder)
        pickled = None if asked.skip_rival else rival_file(folder)
        runs: dict[str, list[dict]] = {}
        for _ in range(asked.repeat):
            server = luce_server(models, 8797)
            for model in ("straight", "bent"):
                found = measured(server, f"/v1/models/{model}/predict", folder, asked.seconds)
                runs.setdefault(f"luce, {model}", []).append(
                    {"start to ready, s": server.start, **found, "memory, MiB": server.memory}
                )
            server.stop()
            if pickled is not None:
                server = Server([sys.executable, folder / "rival.py", pickled, 8798], 8798, "/ready")
                found = measured(server, "/predict", folder, asked.seconds)
                runs.setdefault("scikit-learn, FastAPI", []).append(
                    {"start to ready, s": server.start, **found, "memory, MiB": server.memory}
                )
                server.stop()
        rows = {
            who: {key: statistics.median(run[key] for run in many) for key in many[0]} for who, many in runs.items()
        }
        tried = trials(models, folder, asked.seconds)
    for key in next(iter(rows.values())):
        print(f"{key:28s}" + "".join(f"{rows[who][key]:>14,.4g} ({who})" for who in rows))
    for key, value in tried.items():
        print(f"{key:46s}{value:>12,.4g}")
    OUT.mkdir(exist_ok=True)
    with open(OUT / "serve.json", "w", encoding="utf8") as file:
        json.dump({"servers": rows, "trials": tried, "cores": os.cpu_count()}, file, indent=1)


if __name__ == "__main__":
    main()
