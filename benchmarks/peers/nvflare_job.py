"""Runs rounds of NVFlare's FedAvg on a numpy model, in its POC mode or its simulator; run by NVFlare's own Python.

nvflare_job.py poc|sim STUDIOS MEGABYTES ROUNDS FILE

POC's default driver, http, lost the deployment of the job in every try ("no reply (deployment timeout)"), here as in
trials before; with grpc it runs.
"""

import sys
from pathlib import Path

import numpy as np
import nvflare.lighter
import yaml
from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import PocEnv, SimEnv


def main() -> None:
    """Run the job to its end."""
    mode, studios, megabytes, rounds, file = sys.argv[1:6]
    recipe = NumpyFedAvgRecipe(
        name="overhead",
        model=np.zeros(int(float(megabytes) * 1e6 / 4), np.float32),
        min_clients=int(studios),
        num_rounds=int(rounds),
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
        train_args=file,
    )
    if mode == "sim":
        environment = SimEnv(num_clients=int(studios), workspace_root=f"{file}.workspace")
    else:
        project = Path(f"{file}.project.yml")
        project.write_text(yaml.safe_dump(_project(int(studios))))
        environment = PocEnv(num_clients=int(studios), project_conf_path=str(project))
    run = recipe.execute(environment)
    run.get_result()
    print(run.get_status(), flush=True)


def _project(studios: int) -> dict:
    """NVFlare's own example project with so many clients and the grpc driver."""
    folder = Path(nvflare.lighter.__file__).parent
    project = yaml.safe_load((folder / "dummy_project.yml").read_text())
    others = [one for one in project["participants"] if one["type"] != "client"]
    clients = [{"name": f"site-{n + 1}", "type": "client", "org": "nvidia"} for n in range(studios)]
    project["participants"] = [*others, *clients]
    for builder in project["builders"]:
        if builder["path"].endswith("StaticFileBuilder"):
            builder["args"]["scheme"] = "grpc"
    return project


if __name__ == "__main__":
    main()
