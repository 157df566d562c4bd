"""The deployed form of a model: one module from raw pixels to degrees.

Everything between a picture and a position is inside (normalisation of pixels, backbone, head,
label scaling, the average over members), so that whoever runs it elsewhere cannot get a step wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from img2gps.core.geo import LabelScaler
from img2gps.inference.style import noting, style_layer, style_of
from img2gps.inference.trust import Trust
from img2gps.training.density import GaussianMixture
from img2gps.training.maps import WithMaps
from img2gps.training.model import Regressor


class Answer(NamedTuple):
    """The network's output for a batch of n photos."""

    degrees: Tensor  # (n, 2) float64, latitude and longitude
    radius_m: Tensor  # (n,) float32, NaN where it is unknown
    strangeness: Tensor  # (n,) float32, above 1: not from here; NaN where it is unknown
    features: Tensor  # (n, d) float32, those of all members side by side
    scale: Tensor  # (n,) float32, what the radius of any level is multiplied by
    density: Tensor  # (n, k, 4) float64: share, latitude, longitude and width in m; k may be 0


class MemberAnswer(NamedTuple):
    """One member's output for a batch of n photos."""

    degrees: Tensor  # (n, 2) float64, latitude and longitude
    features: Tensor  # (n, d) float32
    style: Tensor  # (n, s) float32, each of length 1
    deviation_m: Tensor  # (n,) how far the density lies from the answer; 1 without a density
    density: Tensor  # (n, k, 4) float64: share, latitude, longitude and width in m; k may be 0


class Degrees(nn.Module):
    """Scaled positions to degrees.

    Each mean is kept as the sum of two float32 numbers: float32 alone resolves 0.6 m of longitude,
    and not every device has float64.
    """

    mean: Tensor
    rest: Tensor
    std: Tensor

    def __init__(self, scaler: LabelScaler) -> None:
        super().__init__()
        exact = torch.tensor([scaler.lat_mean, scaler.lon_mean], dtype=torch.float64)
        spread = torch.tensor([scaler.lat_std, scaler.lon_std], dtype=torch.float64)
        self.register_buffer("mean", exact.float())
        self.register_buffer("rest", (exact - exact.float().double()).float())
        self.register_buffer("std", spread.float())

    def forward(self, scaled: Tensor) -> Tensor:
        """Return latitude and longitude, (n, 2) float64."""
        away = self.rest.double() + scaled.double() * self.std.double()
        lat, lon = (self.mean.double() + away).unbind(dim=1)
        return torch.stack([lat.clamp(-90.0, 90.0), wrap(lon)], dim=1)


class Member(nn.Module):
    """One trained regressor with its own normalisation and label scaling."""

    mean: Tensor
    std: Tensor

    def __init__(self, regressor: Regressor, scaler: LabelScaler, *, bf16: bool = False) -> None:
        """Take a regressor; `bf16` computes its backbone as a run in bf16 does."""
        super().__init__()
        self.backbone = regressor.backbone
        self.head = regressor.head
        net = regressor.backbone
        self.width = net.width if isinstance(net, WithMaps) else None  # maps say nothing of trust
        self.register_buffer("mean", regressor.mean.clone())
        self.register_buffer("std", regressor.std.clone())
        self.degrees = Degrees(scaler)
        self.bf16 = bf16
        self.style_layer = style_layer(net)

    def forward(self, images: Tensor) -> MemberAnswer:
        """Answer pictures (n, 3, h, w) of float32 pixels in [0, 255]."""
        given, style = self._given(images)
        whole = given[:, : self.width]
        degrees = self.degrees(self.head(given))
        mixture = self.mixture
        if mixture is None:
            none = torch.zeros(whole.shape[0], 0, 4, dtype=torch.float64, device=whole.device)
            return MemberAnswer(degrees, whole, style, torch.ones_like(whole[:, 0]), none)
        density = self._density(*mixture.components(given))
        return MemberAnswer(degrees, whole, style, mixture.deviation_m(given), density)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features and the style of pictures without asking the head."""
        given, style = self._given(images)
        return given[:, : self.width], style

    @property
    def mixture(self) -> GaussianMixture | None:
        """The head, if it gives a density over the ground."""
        return self.head if isinstance(self.head, GaussianMixture) else None

    def _given(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head reads (features, and for some heads the cells of maps), and style.

        Where the backbone has no map to take a style from, the features stand for it.
        """
        normalised = (images - self.mean) / self.std
        given: Tensor
        with noting(self.backbone, self.style_layer) as maps:
            if self.bf16:
                with torch.autocast(images.device.type, torch.bfloat16):
                    given = self.backbone(normalised)
            else:
                given = self.backbone(normalised)
        given = given.float()
        style = style_of(maps[0]) if maps else functional.normalize(given[:, : self.width])
        return given, style

    def _density(self, log_shares: Tensor, means: Tensor, width_m: Tensor) -> Tensor:
        """Return round Gaussians as rows (n, k, 4)."""
        degrees = self.degrees(means.flatten(0, 1)).unflatten(0, log_shares.shape)
        shares, width_m = log_shares.double().exp(), width_m.double()
        return torch.cat([shares[..., None], degrees, width_m[..., None]], dim=2)


class Network(nn.Module):
    """One member, or the average of several, from uint8 pixels to degrees."""

    def __init__(self, members: Sequence[Member], trust: Trust | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.trust = trust or Trust(0, 0, 0)
        self.requires_grad_(False)  # it only answers, and callers want plain numbers

    def forward(self, pixels: Tensor) -> Answer:
        """Answer upright square photos (n, size, size, 3) of uint8 pixels."""
        images = as_images(pixels)
        answers = [member(images) for member in self.members]
        degrees, features, styles, deviation_m, densities = zip(*answers, strict=True)
        together = torch.cat(features, dim=1)
        scale = self.trust.scale(torch.stack(deviation_m).mean(dim=0))
        return Answer(
            degrees=average(degrees),
            radius_m=self.trust.radius_m * scale,
            strangeness=self.trust.strangeness(styles[0]),
            features=together,
            scale=scale,
            density=pooled(densities) if self.gives_density else densities[0][:, :0],
        )

    @property
    def gives_density(self) -> bool:
        """Whether every member gives a density over the ground."""
        return all(member.mixture is not None for member in self.parts())

    def parts(self) -> list[Member]:
        """Return the members, in order."""
        return [member for member in self.members if isinstance(member, Member)]

    def in_float32(self) -> Network:
        """Return the same network, its tensors shared, that computes in float32 throughout."""
        copied = copy.copy(self)
        copied._modules = dict(self._modules)
        members = [copy.copy(member) for member in self.parts()]
        for member in members:
            member.bf16 = False
        copied.members = nn.ModuleList(members)
        return copied


def as_images(pixels: Tensor) -> Tensor:
    """Return uint8 photos (n, h, w, 3) as a member takes them, (n, 3, h, w) in float32."""
    return pixels.permute(0, 3, 1, 2).float()


def average(positions: Sequence[Tensor]) -> Tensor:
    """Return the mean of positions (n, 2) in degrees, also across the antimeridian."""
    first = positions[0]
    if len(positions) == 1:
        return first
    away = torch.stack([position - first for position in positions])
    mean = torch.stack([away[..., 0].mean(dim=0), wrap(away[..., 1]).mean(dim=0)], dim=1)
    lat, lon = (first + mean).unbind(dim=1)
    return torch.stack([lat, wrap(lon)], dim=1)


def pooled(densities: Sequence[Tensor]) -> Tensor:
    """Return the mean of densities (n, k, 4), each of which counts the same."""
    together = torch.cat(list(densities), dim=1)
    return torch.cat([together[..., :1] / len(densities), together[..., 1:]], dim=2)


def wrap(lon: Tensor) -> Tensor:
    """Return longitude brought into [-180, 180)."""
    return torch.remainder(lon + 180.0, 360.0) - 180.0
