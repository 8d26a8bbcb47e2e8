"""Resize and normalise, against Pillow and transformers' own processor."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from embeddings.errors import SommelierError
from extract.preprocessing import MEAN, STD, Recipe, resize_in_floats

SHAPES = [(424, 424), (300, 200), (64, 64), (37, 91), (225, 223), (8, 8), (1000, 60)]


def draw(kind: str, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    noise = rng.uniform(0, 255, (height, width, 3))
    if kind == "smooth":
        noise = gaussian_filter(noise, (3, 3, 0))
        noise = (noise - noise.min()) / (noise.max() - noise.min()) * 255
    elif kind == "extreme":  # bicubic overshoots at every edge and must be clipped
        noise = np.where(noise > 127, 255.0, 0.0)
    return noise.round().astype(np.uint8)


def to_levels(pixels: torch.Tensor) -> np.ndarray:
    """Undo the normalisation: (n, height, width, 3) levels of 0 to 255."""
    values = pixels.permute(0, 2, 3, 1).double().numpy() * np.array(STD) + np.array(MEAN)
    return values * 255


def resize_by_pillow(image: np.ndarray, size: int) -> np.ndarray:
    """Rows, then columns; left alone Pillow 13 takes the columns of a tall image first, older ones do not."""
    across = Image.fromarray(image).resize((size, image.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(across.resize((size, size), Image.Resampling.BICUBIC), float)


def assert_levels_agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    difference = np.abs(ours - theirs)
    more = (difference > 1.01).mean()
    said = f"mean difference {difference.mean():.5f} of 255, largest {difference.max():.3f}, {more:.1e} above one level"
    assert difference.mean() < 0.03, said
    assert difference.max() < 2.01, said
    assert more < 2e-4, said


@pytest.mark.parametrize("kind", ["noise", "smooth", "extreme"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [56, 224])
def test_whole_is_within_one_level_of_pillow(kind: str, shape: tuple[int, int], size: int) -> None:
    image = draw(kind, *shape)
    assert_levels_agree(to_levels(Recipe(size=size).apply([image]))[0], resize_by_pillow(image, size))


@pytest.mark.parametrize("kind", ["noise", "smooth", "extreme"])
@pytest.mark.parametrize("shape", SHAPES)
def test_so_is_the_way_of_other_devices(kind: str, shape: tuple[int, int]) -> None:
    """A GPU has no integer kernel: its images must not differ from a CPU's."""
    image = draw(kind, *shape)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = resize_in_floats(pixels, (56, 56))
    assert resized.dtype == torch.uint8
    assert_levels_agree(resized[0].permute(1, 2, 0).numpy().astype(float), resize_by_pillow(image, 56))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["whole", "hf"])
def test_a_gpu_gives_the_images_of_a_cpu(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images, recipe = [draw(kind, 424, 424) for kind in ("noise", "smooth", "extreme")], Recipe(name)
    assert_levels_agree(to_levels(recipe.apply(images, "cuda").cpu()), to_levels(recipe.apply(images)))


def test_pillow_in_one_call_on_square_images() -> None:
    image = draw("extreme", 424, 424)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC), float)
    assert_levels_agree(to_levels(Recipe().apply([image]))[0], expected)


@pytest.mark.parametrize("kind", ["noise", "smooth"])
@pytest.mark.parametrize("shape", [(424, 424), (300, 200), (200, 300), (97, 333), (256, 256), (425, 424)])
@pytest.mark.parametrize(("size", "edge"), [(224, 256), (98, 112)])
def test_hf_is_within_one_level_of_transformers(kind: str, shape: tuple[int, int], size: int, edge: int) -> None:
    from transformers import BitImageProcessorPil

    processor = BitImageProcessorPil(
        size={"shortest_edge": edge},
        crop_size={"height": size, "width": size},
        resample=Image.Resampling.BICUBIC,
        image_mean=list(MEAN),
        image_std=list(STD),
    )
    image = draw(kind, *shape)
    expected = processor(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    pixels = Recipe("hf", size).apply([image])[0].numpy()
    assert pixels.shape == expected.shape == (3, size, size)
    scale = np.array(STD)[:, None, None] * 255  # to levels
    assert_levels_agree(pixels * scale, expected * scale)


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    image = draw("noise", 56, 56)
    expected = (image / 255 - np.array(MEAN)) / np.array(STD)
    pixels = Recipe(size=56).apply([image])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, expected, atol=1e-5)


def test_whole_keeps_the_corners_and_hf_cuts_them() -> None:
    marked = np.zeros((256, 256, 3), np.uint8)
    for rows in (slice(0, 12), slice(244, 256)):
        for columns in (slice(0, 12), slice(244, 256)):
            marked[rows, columns] = 255
    levels = to_levels(Recipe("whole", 224).apply([marked]))[0]
    for row in (2, -3):
        for column in (2, -3):
            assert levels[row, column].min() > 250, "a corner of the cut-out was lost"
    assert levels[100:124, 100:124].max() < 1
    assert to_levels(Recipe("hf", 224).apply([marked])).max() < 1  # what the whole recipe is for


def test_a_batchs_company_changes_no_bit() -> None:
    images = [draw("noise", *shape) for shape in SHAPES]
    for recipe in (Recipe("whole", 70), Recipe("hf", 70)):
        together = recipe.apply(images)
        for index, image in enumerate(images):
            assert torch.equal(together[index], recipe.apply([image])[0])


def test_images_that_share_memory() -> None:
    """Views: flipped, cropped, of one channel repeated; as decoders and callers give them."""
    image = draw("noise", 80, 60)
    views = [image[::-1], image[10:70, 5:50], np.repeat(image[:, :, :1], 3, axis=2), image.transpose(1, 0, 2)]
    recipe = Recipe(size=56)
    for view in views:
        assert torch.equal(recipe.apply([view])[0], recipe.apply([view.copy()])[0])
    frozen = image.copy()
    frozen.setflags(write=False)
    assert torch.equal(recipe.apply([frozen])[0], recipe.apply([image])[0])
    assert (image == draw("noise", 80, 60)).all(), "the caller's image was changed"


def test_other_statistics() -> None:
    pixels = Recipe("whole", 8, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0)).apply([np.full((8, 8, 3), 255, np.uint8)])[0]
    np.testing.assert_allclose(pixels.mean(dim=(1, 2)).numpy(), [2.0, 1.0, 0.5], atol=1e-6)


def test_the_record_tells_recipes_apart() -> None:
    recipes = [Recipe(), Recipe("hf"), Recipe(size=98), Recipe(mean=(0.5,) * 3), Recipe(std=(0.5,) * 3)]
    records = [json.dumps(recipe.to_dict(), sort_keys=True) for recipe in recipes]
    assert len(set(records)) == len(recipes)
    record = Recipe().to_dict()
    assert record["resize"]["recipe"] == "whole"
    assert record["resize"]["size"] == 224
    assert record["normalisation"] == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def test_an_unknown_recipe() -> None:
    with pytest.raises(SommelierError, match=r"'hole' is not known\. Did you mean 'whole'\?"):
        Recipe("hole")
