"""Stock Flower: FedAvg over clients that train nothing, as its documentation writes an app."""

import contextlib
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Add one to what came; the first of all notes when."""
    with contextlib.suppress(FileExistsError), Path(f"{context.run_config['file']}.first").open("x") as file:
        file.write(str(time.time()))
    arrays = ArrayRecord([array + 1 for array in message.content["arrays"].to_numpy_ndarrays()])
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


class Noted(FedAvg):
    """FedAvg that notes the end of every round."""

    file: Path

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def] # noqa: D102
        result = super().aggregate_train(server_round, replies)
        with self.file.open("a") as file:
            file.write(f"{time.time()}\n")
        return result


@server.main()
def run(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    config = context.run_config
    studios = int(config["studios"])
    strategy = Noted(fraction_evaluate=0.0, min_train_nodes=studios, min_available_nodes=studios)
    strategy.file = Path(str(config["file"]))
    arrays = ArrayRecord([np.zeros(int(config["parameters"]), np.float32)])
    strategy.start(grid=grid, initial_arrays=arrays, num_rounds=int(config["rounds"]), timeout=600)
