"""ML-Decoder: what its queries decode, its size, and what it never mixes."""

import pytest
import torch
from network_cases import LABELS, build, decoder

from mdkd.models.heads import MLDecoderHead


def test_head_size_is_the_published_one():
    """ResNet-34 with 80 labels: 6.03 M, the frozen queries included."""
    attention = 4 * 768 * 768 + 4 * 768
    feedforward = 2 * 768 * 2048 + 2048 + 768
    by_hand = 512 * 768 + 768 + attention + feedforward + 3 * 2 * 768 + 80 * 768 + 80 + 80 * 768
    head = MLDecoderHead(decoder(width=768, heads=8, feedforward=2048), map_dim=512, num_labels=80)
    assert sum(x.numel() for x in head.state_dict().values()) == by_hand == 6_032_464


def run_head(queries, num_labels=LABELS, batch=3):
    torch.manual_seed(0)
    head = MLDecoderHead(decoder(queries=queries), map_dim=8, num_labels=num_labels)
    head.double().eval().bias_C.data.normal_()
    map_BDHW = torch.randn(batch, 8, 4, 4, dtype=torch.float64)
    return head, map_BDHW, *head(None, map_BDHW)


@pytest.mark.parametrize(
    ("queries", "num_labels"), [(5, 5), (1, 5), (2, 5), (3, 5), (3, 6), (4, 5)]
)
def test_each_query_decodes_its_labels_with_weights_of_its_own(queries, num_labels):
    head, map_BDHW, logits_BC, embeddings = run_head(queries, num_labels)
    assert (embeddings is None) == (queries < num_labels)
    decoded_BQE = head.decode(map_BDHW)
    labels_each = -(-num_labels // queries)
    assert logits_BC.shape == (3, num_labels)
    for c in range(num_labels):
        query, position = divmod(c, labels_each)
        weight_E = head.weight_QEG[query, :, position]
        torch.testing.assert_close(
            logits_BC[:, c], decoded_BQE[:, query] @ weight_E + head.bias_C[c]
        )


def test_embeddings_are_what_the_logits_are_read_from():
    head, _, logits_BC, embeddings_BCE = run_head(None)
    expected_BC = torch.einsum("bce,ce->bc", embeddings_BCE, head.weight_QEG[:, :, 0]) + head.bias_C
    torch.testing.assert_close(logits_BC, expected_BC)


def test_queries_are_saved_but_never_trained():
    network = build("cifar:resnet8", head=decoder(dropout=0.5))
    assert "head.queries_QE" in network.state_dict()
    assert [name for name, _ in network.named_parameters() if "queries" in name] == []
    before = network.head.queries_QE.clone()
    network(torch.randn(2, 3, 64, 64)).logits_BC.sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    assert torch.equal(network.head.queries_QE, before)


def test_the_order_of_pixels_does_not_matter_but_their_content_does():
    head, map_BDHW, logits_BC, _ = run_head(None)
    shuffled = map_BDHW.flatten(2)[:, :, torch.randperm(16)].unflatten(2, (4, 4))
    torch.testing.assert_close(head(None, shuffled)[0], logits_BC)
    assert not torch.allclose(head(None, map_BDHW + 1)[0], logits_BC)


def test_images_do_not_mix():
    head, map_BDHW, logits_BC, embeddings_BCE = run_head(None)
    alone = head(None, map_BDHW[1:2])
    torch.testing.assert_close(alone[0], logits_BC[1:2])
    torch.testing.assert_close(alone[1], embeddings_BCE[1:2])
