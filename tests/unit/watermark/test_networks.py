"""The spectral front end and networks: transforms, depth, and agreement with the package."""

import numpy as np
import pytest
import torch

from tests.unit.seal_carriers import music
from watermark.detection.alignment import best_path
from watermark.models.networks import (
    CELL_SAMPLES,
    DepthConfig,
    SpectralDetector,
    SpectralGenerator,
    Spectrum,
    cell_seconds,
)


@pytest.fixture(scope="module")
def spectrum() -> Spectrum:
    return Spectrum()


def test_bands_share_every_bin_and_the_transform_inverts(spectrum):
    inside = spectrum.bands.sum(0)[5:240]  # 156 to 7,470 Hz
    torch.testing.assert_close(inside, torch.ones_like(inside))
    x = torch.from_numpy(music(1.0, 16_000).samples)
    torch.testing.assert_close(spectrum.istft(spectrum.stft(x), x.shape[-1]), x, atol=1e-5, rtol=0)


def test_depth_is_shallow_on_steady_tones_and_deep_on_noise(spectrum):
    t = torch.arange(32_000) / 16_000
    tone = 0.1 * torch.sin(2 * torch.pi * 440 * t)[None]
    fading = tone * torch.exp(-2 * t)  # a decay is too slow to mask the pattern
    noise = 0.1 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))

    def depth(x):
        level = spectrum.log_energy(spectrum.stft(x))
        return spectrum.depth(level)[0, :, 50:150].mean().item()

    assert depth(tone) == pytest.approx(0.35, abs=0.01)
    assert depth(fading) == pytest.approx(0.35, abs=0.02)
    assert depth(noise) > 0.9


def test_a_steady_tone_wobbles_less_than_its_published_threshold():
    """The gain on a sustained tone stays below 0.5 dB rms (modulation threshold near 12 Hz)."""
    from watermark.models.loading import load_seal_model

    model = load_seal_model()
    t = np.arange(3 * 16_000) / 16_000
    x = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in (1, 2, 3, 4))
    x = (0.1 * x).astype(np.float32)
    rows = np.random.default_rng(0).integers(0, 2, (38, 16)).astype(np.uint8)
    mark = model.mark(x, rows, 1.0)
    spectrum = Spectrum()
    before = spectrum.log_energy(spectrum.stft(torch.from_numpy(x)[None]))[0]
    after = spectrum.log_energy(spectrum.stft(torch.from_numpy(x + mark)[None]))[0]
    loudest = before.mean(1).argmax()
    wobble = (after - before)[loudest, 20:-20]
    assert 0.0 < wobble.std().item() < 0.5


def test_a_flip_of_polarity_flips_the_mark():
    generator = SpectralGenerator()
    x = torch.from_numpy(music(1.0, 16_000).samples)
    rows = torch.zeros(1, 13, 16)
    with torch.no_grad():
        torch.testing.assert_close(generator(-x, rows, 20.0), -generator(x, rows, 20.0))


def test_cells_are_the_mean_of_the_packages_own_frames():
    detector = SpectralDetector()
    features = torch.randn(2, 88, 128)
    with torch.no_grad():
        encoder, last = detector.net.detector[0], detector.net.detector[1]
        frames = last(encoder.reverse_convolution(encoder.model(features)))
        mean = frames.reshape(2, 18, 16, 8).mean(-1)
        pilot, bits = detector.cells(features)
    torch.testing.assert_close(pilot, mean[:, 1] - mean[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bits, mean[:, 2:].transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_all_shifts_at_once_are_the_shifts_one_by_one():
    """Folded and shared layers give what eight separate calls give, away from the ends."""
    detector = SpectralDetector()
    features = torch.randn(1, 88, 40 * 8 + 8)
    with torch.no_grad():
        pilot, bits = detector.shifted(features, detector.folded())
        for shift in range(8):
            one, its_bits = detector.cells(features[..., shift : shift + 40 * 8])
            inner = slice(10, 30)
            torch.testing.assert_close(pilot[shift, inner], one[0, inner], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(bits[shift, inner], its_bits[0, inner], atol=1e-4, rtol=1e-4)


def test_a_band_that_stands_out_is_marked_less_than_its_neighbours():
    level = torch.full((1, 88, 50), 30.0)
    level[:, 40] = 50.0
    flat = Spectrum(DepthConfig())
    tilted = Spectrum(DepthConfig(prominence_slope=0.3))
    before, after = flat.depth(level)[0, :, 25], tilted.depth(level)[0, :, 25]
    assert after[40] < before[40] < after[44]
    assert after[10] == pytest.approx(float(before[10]))


@pytest.mark.parametrize("frames", [5, 21, 101])
def test_running_sums_are_the_moving_mean(frames):
    from watermark.models.networks import _moving_mean

    x = 60 * torch.randn(1, 3, 400)
    pooled = torch.nn.functional.avg_pool1d(x, frames, 1, frames // 2, count_include_pad=False)
    torch.testing.assert_close(_moving_mean(x, frames), pooled, atol=1e-4, rtol=1e-5)


def test_messages_change_where_the_second_begins():
    seconds = cell_seconds(100)
    starts = [int(torch.nonzero(seconds == k)[0]) * CELL_SAMPLES / 16_000 for k in range(1, 8)]
    assert starts == pytest.approx(range(1, 8), abs=0.0401)  # half a cell
    assert cell_seconds(5, 50).tolist() == [4, 4, 4, 4, 4]


def test_the_path_follows_a_drift_and_is_not_torn_off_by_a_bad_cell():
    pilot = np.full((16, 400), -4.0, np.float32)
    truth = (np.arange(400) // 60) % 16
    for shift, value in ((-1, 2.0), (0, 6.0), (1, 2.0)):
        pilot[(truth + shift) % 16, np.arange(400)] = value
    pilot[:, 30] = 0.0
    pilot[3, 30] = 15.0
    path = best_path(pilot)
    assert np.mean(path == truth) > 0.9
    assert path[30] == truth[30]
