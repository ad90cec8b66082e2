"""What every test shares: one thread, so that two cores are enough for anyone's machine."""

import torch

torch.set_num_threads(1)
