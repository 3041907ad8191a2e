"""What the camera shows, when it is asked, and who draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import envs
from envs.tasks.tabletop import textures
from envs.tasks.tabletop.catalogue import COLOURS

pytestmark = pytest.mark.render
SIZE = 64


def make(n: int = 3, **overrides):
    given = {"image_size": SIZE, "episodes": n, **overrides}
    return envs.make("put_on_plate", num_worlds=n, num_threads=1, overrides=given)


def actions(n: int, chunk: int = 1, steps: int = 3) -> torch.Tensor:
    return torch.rand(steps, n, chunk, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_an_image_shows_the_things_in_their_colours() -> None:
    env = make(8)
    image = env.reset(seed=0)["image"]
    assert image.shape == (8, SIZE, SIZE, 3) and image.dtype == torch.uint8
    for world, ep in enumerate(env.episodes):
        pixels = image[world].reshape(-1, 3).float()
        for placed in ep.receptacles:
            colour = torch.tensor(COLOURS[placed.pair[0]])
            if colour.max() > 0.2:  # hue, whatever the light: black has none
                hue = torch.nn.functional.cosine_similarity(pixels, colour[None], dim=-1)
                assert ((hue > 0.985) & (pixels.amax(-1) > 40)).sum() > 25
    env.close()


def test_chunks_draw_decisions_only_and_show_the_same() -> None:
    single, chunked = make(), make(chunk=4)
    for env in (single, chunked):
        env.reset(seed=0)
    drawn = []
    images = chunked.env._images
    draw = images.draw
    images.draw = lambda worlds: (drawn.append(len(worlds)), draw(worlds))[1]
    for chunk in actions(3, chunk=4):
        result = chunked.step(chunk)
        for i in range(4):
            expected = single.step(chunk[:, i : i + 1])
        assert torch.equal(result.obs["image"], expected.obs["image"])
        assert torch.equal(result.final_obs["image"], expected.final_obs["image"])
    assert drawn == [3, 3, 3]
    single.close()
    chunked.close()


def test_the_last_image_is_of_the_episode_that_ended() -> None:
    """Rows that end inside a chunk are seen as they ended, and then anew."""
    single, chunked = make(horizon=6), make(horizon=6, chunk=4)
    for env in (single, chunked):
        env.reset(seed=0)
    first, second = actions(3, chunk=4, steps=2)
    chunked.step(first)
    result = chunked.step(second)
    for action in torch.cat([first, second], 1).split(1, 1)[:6]:
        expected = single.step(action)
    assert result.terminated.all() and expected.terminated.all()
    assert torch.equal(result.final_obs["image"], expected.final_obs["image"])
    assert torch.equal(result.obs["image"], expected.obs["image"])
    assert not torch.equal(result.obs["image"], result.final_obs["image"])
    single.close()
    chunked.close()


def test_reset_of_some_rows_leaves_the_images_of_the_others() -> None:
    env = make(3)
    obs = env.reset(seed=0)
    fresh = env.reset_rows(torch.tensor([True, False, False]), obs)["image"]
    assert torch.equal(fresh[1:], obs["image"][1:]) and not torch.equal(fresh[0], obs["image"][0])
    env.close()


@pytest.mark.parametrize("row", ["in_distribution", "texture_strong"])
def test_workers_draw_the_same(row: str) -> None:
    found = []
    for workers in (0, 2):
        env = make(3, row=row, num_render_workers=workers)
        images = [env.reset(seed=0)["image"]]
        images += [env.step(action).obs["image"] for action in actions(3, steps=2)]
        found.append(torch.stack(images))
        env.close()
    assert torch.equal(*found)


def test_noise_is_on_the_whole_image_and_texture_on_arm_and_objects() -> None:
    from envs.tasks.tabletop.camera import Camera

    made = {}
    for row in ("noise_strong", "texture_weak"):
        env = make(1, row=row)
        with_texture = env.reset(seed=0)["image"][0].numpy()
        camera: Camera = env._images._here.camera
        camera._blend = lambda image, number, step: None  # the same scene without
        made[row] = with_texture, env.look(torch.ones(1, dtype=torch.bool))["image"][0].numpy()
        ep = env.episodes[0]
        if row == "noise_strong":
            texture = textures.window(ep.overlay, ep.key, 0, SIZE, SIZE)
            np.testing.assert_array_equal(with_texture, np.rint(0.5 * made[row][1] + 0.5 * texture).astype(np.uint8))
        env.close()
    changed = (made["texture_weak"][0] != made["texture_weak"][1]).any(-1)
    assert 0.03 < changed.mean() < 0.4 and not changed[-SIZE // 8 :].any()  # the table in front stays as it is


def test_a_failing_worker_says_why() -> None:
    from envs.tasks.tabletop.rendering import Renderer

    renderer = Renderer("in_distribution", SIZE, 0.005, worlds=2, nq=3, workers=1)
    with pytest.raises(RuntimeError, match="a render worker failed"):
        renderer.draw(np.arange(2))
    renderer.close()


def test_a_picture_to_look_at_wears_the_episode() -> None:
    env = make(2, image_size=0)
    env.reset(seed=0)
    frames = [env.render(row, width=96, height=96) for row in (0, 1, 0)]
    assert frames[0].shape == (96, 96, 3) and np.array_equal(frames[0], frames[2])
    assert not np.array_equal(frames[0], frames[1])
    env.close()


def test_tables_and_textures_are_all_different_and_pinned() -> None:
    tables = [textures.table(i) for i in (*textures.SEEN_TABLES, *textures.UNSEEN_TABLES)]
    assert len({table.tobytes() for table in tables}) == 22
    assert len({textures.overlay(i).tobytes() for i in range(textures.OVERLAYS)}) == 16
    assert np.array_equal(textures.window(3, 9, 4, 32, 32), textures.window(3, 9, 4, 32, 32))
    assert not np.array_equal(textures.window(3, 9, 4, 32, 32), textures.window(3, 9, 5, 32, 32))
