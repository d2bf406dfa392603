from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.data.sampler import Draw, EpochSampler, seed_of
from mnv2dense.utils.blocks import Blocks


def drawn_images(sampler: EpochSampler) -> list[int]:
    return [draw.image for draw in sampler]


def test_without_shuffling_images_come_in_order() -> None:
    sampler = EpochSampler(length=3, shuffle=False, equal_shares=True)
    assert list(sampler) == [Draw(0, 0), Draw(0, 1), Draw(0, 2)]


def test_every_epoch_has_its_own_order_and_the_same_seed_repeats_it() -> None:
    one = EpochSampler(length=50, shuffle=True, equal_shares=True, seed=3)
    two = EpochSampler(length=50, shuffle=True, equal_shares=True, seed=3)
    first = drawn_images(one)
    assert sorted(first) == list(range(50))
    assert drawn_images(two) == first
    one.set_epoch(1)
    assert drawn_images(one) != first
    assert {draw.epoch for draw in one} == {1}
    assert drawn_images(EpochSampler(length=50, shuffle=True, equal_shares=True, seed=4)) != first


@pytest.mark.parametrize("length", [1, 2, 7, 9])
def test_training_shares_are_equal_and_hold_every_image(length: int) -> None:
    shares = [
        EpochSampler(length=length, shuffle=True, equal_shares=True, rank=rank, world_size=3) for rank in range(3)
    ]
    drawn = [drawn_images(share) for share in shares]
    assert {len(one) for one in drawn} == {len(shares[0])}
    assert set().union(*drawn) == set(range(length))
    assert sum(map(len, drawn)) < length + 3


def test_evaluation_draws_every_image_exactly_once() -> None:
    shares = [EpochSampler(length=7, shuffle=False, equal_shares=False, rank=rank, world_size=3) for rank in range(3)]
    assert [drawn_images(share) for share in shares] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [len(share) for share in shares] == [3, 2, 2]


def test_a_process_without_a_share_of_the_evaluation_repeats_a_image() -> None:
    shares = [EpochSampler(length=2, shuffle=False, equal_shares=False, rank=rank, world_size=3) for rank in range(3)]
    assert [drawn_images(share) for share in shares] == [[0], [1], [0]]
    assert len(shares[2]) == 1


def test_a_resumed_epoch_draws_the_rest_and_the_next_one_is_whole() -> None:
    whole = EpochSampler(length=10, shuffle=True, equal_shares=True)
    resumed = EpochSampler(length=10, shuffle=True, equal_shares=True)
    resumed.start_at(2, 4)
    for sampler in (whole, resumed):
        sampler.set_epoch(2)
    assert drawn_images(resumed) == drawn_images(whole)[4:]
    assert len(resumed) == 10
    resumed.set_epoch(3)
    assert len(drawn_images(resumed)) == 10


def test_every_draw_has_its_own_seed() -> None:
    seeds = {seed_of(seed, Draw(epoch, image)) for seed in range(3) for epoch in range(3) for image in range(3)}
    assert len(seeds) == 27
    assert seed_of(1, Draw(2, 3)) == seed_of(1, Draw(2, 3))


def test_impossible_samplers_say_why() -> None:
    with pytest.raises(ValueError, match="no images"):
        EpochSampler(length=0, shuffle=False, equal_shares=True)
    with pytest.raises(ValueError, match=r"rank is 2, but must lie in 0\.\.1"):
        EpochSampler(length=4, shuffle=False, equal_shares=True, rank=2, world_size=2)
    with pytest.raises(ValueError, match="after 5 images of epoch 1: this process has 4"):
        EpochSampler(length=4, shuffle=False, equal_shares=True).start_at(1, 5)


def test_images_with_factors_are_drawn_that_often_on_the_average_and_epochs_are_of_one_length() -> None:
    repeats = np.array([1.0, 2.5, 1.2, 1.0, 3.3])
    sampler = EpochSampler(length=5, shuffle=True, equal_shares=True, repeats=repeats)
    counts = []
    for epoch in range(400):
        sampler.set_epoch(epoch)
        drawn = drawn_images(sampler)
        assert len(drawn) == len(sampler) == 9
        counts.append(np.bincount(drawn, minlength=5))
    assert (np.min(counts, axis=0) >= np.floor(repeats)).all()  # of factors of 1 or more, each image is there
    assert (np.max(counts, axis=0) <= np.ceil(repeats)).all()
    np.testing.assert_allclose(np.mean(counts, axis=0), repeats, atol=0.1)


def test_no_image_is_left_out_of_an_epoch() -> None:
    sampler = EpochSampler(length=10, shuffle=True, equal_shares=True, repeats=np.array([1.0] * 9 + [1.4]))
    for epoch in range(50):
        sampler.set_epoch(epoch)
        assert set(drawn_images(sampler)) == set(range(10))


def test_an_image_that_is_drawn_again_is_another_view_of_it() -> None:
    sampler = EpochSampler(length=2, shuffle=True, equal_shares=True, repeats=np.array([1.0, 3.0]))
    draws = list(sampler)
    assert sorted((draw.image, draw.again) for draw in draws) == [(0, 0), (1, 0), (1, 1), (1, 2)]
    assert len({seed_of(0, draw) for draw in draws}) == 4
    assert seed_of(7, Draw(3, 5)) == seed_of(7, Draw(3, 5, again=0))


@pytest.mark.parametrize("world_size", [1, 2])
def test_every_batch_has_one_size_the_same_on_all_processes_and_after_resuming(world_size: int) -> None:
    sizes = [(64, 64), (96, 96), (128, 64)]

    def made(rank: int) -> EpochSampler:
        place = {"rank": rank, "world_size": world_size}
        return EpochSampler(length=61, shuffle=True, equal_shares=True, sizes=sizes, batch_size=4, **place)

    samplers = [made(rank) for rank in range(world_size)]
    batches = []
    for sampler in samplers:
        chosen = [draw.size for draw in sampler]
        batches.append([chosen[start : start + 4] for start in range(0, len(chosen), 4)])
        assert all(len(set(batch)) == 1 for batch in batches[-1])
    assert all(each == batches[0] for each in batches)
    assert {batch[0] for batch in batches[0]} == set(sizes)

    resumed = made(0)
    resumed.start_at(0, 12)
    assert list(resumed) == list(samplers[0])[12:]
    samplers[0].set_epoch(1)
    assert [draw.size for draw in samplers[0]] != [size for batch in batches[0] for size in batch]


def test_as_many_factors_as_images() -> None:
    with pytest.raises(ValueError, match="repeats has 2 factors for 3 images"):
        EpochSampler(length=3, shuffle=True, equal_shares=True, repeats=np.ones(2))


def test_views_come_again_in_another_order() -> None:
    sampler = EpochSampler(length=20, shuffle=True, equal_shares=True, views=2)
    drawn = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        drawn.append(list(sampler))
    seeds = [{seed_of(0, draw) for draw in epoch} for epoch in drawn]
    assert seeds[0] == seeds[2] != seeds[1] == seeds[3]
    assert drawn[0] != drawn[2]


# --- images that lie in blocks --------------------------------------------------------------------------------------

# Ten blocks of 3 to 5 images, all over the data set.
IN_BLOCKS = np.random.default_rng(1).permutation(np.repeat(np.arange(10), [3, 4, 5, 4, 4, 3, 5, 4, 4, 4]))


def blockwise(rank: int = 0, world_size: int = 1, *, at_once: int = 3, shuffle: bool = True) -> EpochSampler:
    return EpochSampler(
        length=40,
        shuffle=shuffle,
        equal_shares=shuffle,
        rank=rank,
        world_size=world_size,
        blocks=Blocks(IN_BLOCKS, at_once=at_once),
    )


def open_at_once(drawn: list[int]) -> int:
    """Of how many blocks there were draws before and there are draws to come, at most."""
    blocks = IN_BLOCKS[drawn].tolist()
    last = {block: place for place, block in enumerate(blocks)}
    spans = [(blocks.index(block), last[block]) for block in last]
    return max(sum(first <= place <= end for first, end in spans) for place in range(len(blocks)))


def test_an_epoch_draws_from_few_blocks_at_a_time_and_mixes_them() -> None:
    sampler = blockwise()
    drawn = drawn_images(sampler)
    assert sorted(drawn) == list(range(40))
    assert open_at_once(drawn) == 3
    changes = np.count_nonzero(np.diff(IN_BLOCKS[drawn]))
    assert changes > 15  # one block after the other would be 9
    sampler.set_epoch(1)
    assert drawn_images(sampler) != drawn
    assert IN_BLOCKS[drawn_images(sampler)[0]] != IN_BLOCKS[drawn[0]]


@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_images_and_hardly_any_block(shuffle: bool) -> None:
    shares = [drawn_images(blockwise(rank, 3, at_once=1, shuffle=shuffle)) for rank in range(3)]
    drawn = [image for share in shares for image in share]
    assert set(drawn) == set(range(40))
    assert len(drawn) == (42 if shuffle else 40)
    assert [len(share) for share in shares] == [len(blockwise(rank, 3, shuffle=shuffle)) for rank in range(3)]
    if shuffle:
        assert sum(len(set(IN_BLOCKS[share])) for share in shares) <= 10 + 3


def test_every_block_is_named_before_it_is_drawn_from() -> None:
    named: set[int] = set()
    told: list[int] = []
    for draw in blockwise(at_once=2):
        named |= set(draw.ahead)
        told += draw.ahead
        assert IN_BLOCKS[draw.image] in named
    assert sorted(told) == list(range(10))


def test_an_epoch_of_blocks_goes_on_where_it_stopped() -> None:
    whole, resumed = blockwise(1, 2), blockwise(1, 2)
    resumed.start_at(2, 7)
    whole.set_epoch(2)
    rest = list(resumed)
    assert [draw.image for draw in rest] == drawn_images(whole)[7:]
    assert IN_BLOCKS[rest[0].image] in rest[0].ahead


def test_images_of_blocks_that_are_drawn_twice_lie_together() -> None:
    repeats = np.where(IN_BLOCKS == 4, 2.0, 1.0)
    sampler = EpochSampler(
        length=40, shuffle=True, equal_shares=True, repeats=repeats, blocks=Blocks(IN_BLOCKS, at_once=1)
    )
    drawn = drawn_images(sampler)
    assert len(drawn) == 44
    assert open_at_once(drawn) == 1


def test_a_process_without_a_share_of_blocks_repeats_an_image() -> None:
    blocks = Blocks(np.array([0, 1]), at_once=1)
    shares = [
        EpochSampler(length=2, shuffle=False, equal_shares=False, rank=rank, world_size=3, blocks=blocks)
        for rank in range(3)
    ]
    assert [drawn_images(share) for share in shares] == [[0], [1], [0]]
