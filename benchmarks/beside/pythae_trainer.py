"""pythae: the epoch of its own trainer (`train_step`), without its bar, its log and what it saves.

Its data come through torch's DataLoader, a datum at a time, as it has them; its decoder returns probabilities.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from beside.cases import LR, arguments, data
from beside.networks import networks
from beside.rounds import Rounds


class Encoder(BaseEncoder):
    """Means and log variances."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        loc, log_variance = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z).sigmoid())


def main() -> None:
    """Run rounds."""
    told = arguments()
    case = told.case
    if case.flow:
        raise SystemExit("pythae has neither a guide with a full covariance nor a prior that is a flow")
    if case.evidence:
        raise SystemExit("pythae's get_nll is a Python loop over data that encodes each again for each block of draws")
    torch.set_num_threads(told.threads)
    torch.manual_seed(0)
    encoder, decoder = networks(case)
    config = VAEConfig(input_dim=(case.features,), latent_dim=case.latents, reconstruction_loss="bce")
    x = torch.from_numpy(data(case))
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            VAE(config, Encoder(encoder), Decoder(decoder)),
            train_dataset=BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=folder, per_device_train_batch_size=case.batch, learning_rate=LR, no_cuda=True
            ),
        )
        trainer.prepare_training()
        trainer.callback_handler.callbacks = []  # its bar and its log
        versions = {"pythae": version("pythae"), "torch (pythae)": torch.__version__}
        rounds, epoch = Rounds(told.seconds, told.warm_up, len(trainer.train_loader), versions=versions), 1
        while True:
            trainer.train_step(epoch)
            epoch += 1
            if rounds():
                return


if __name__ == "__main__":
    main()
