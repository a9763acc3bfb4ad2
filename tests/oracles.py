"""The losses again, straight from their formulas: loops over images, labels, pairs and sequences.

Slow on purpose and independent of the package. Everything is differentiable, so values and
gradients can both be compared. Inputs are float64; logits are moderate, since nothing here is
guarded against overflow.
"""

import itertools

import torch


def huber(a, b):
    """Eq. 5, both branches."""
    gap = (a - b).abs()
    return torch.where(gap <= 1, gap**2 / 2, gap - 0.5)


def smooth_l1(a, b):
    return huber(a, b)  # the same function at beta = delta = 1


def dependency_loss(student, teacher, order, level):
    """Eqs. 4-8 ("batch") or 10-13 ("instance") over all sequences, each with its reverse once."""
    _num_images, num_labels = student.shape
    sequences = [s for s in itertools.permutations(range(num_labels), order) if s[0] < s[-1]]

    def pair(p):  # [images or 1, labels, labels]
        squared = torch.stack([(row[:, None] - row[None, :]) ** 2 for row in p])
        return squared.mean(0, keepdim=True) if level == "batch" else squared

    def along(pairs, sequence):
        return sum(pairs[:, k, m] for k, m in itertools.pairwise(sequence)) / (order - 1)

    student_pairs, teacher_pairs = pair(student), pair(teacher)
    total = sum(huber(along(teacher_pairs, s), along(student_pairs, s)) for s in sequences)
    return total.mean() / len(sequences)


def mld(student, teacher):
    total = 0.0
    for z_s, z_t in zip(student, teacher, strict=True):
        for p, q in zip(z_t.sigmoid(), z_s.sigmoid(), strict=True):
            total = total + p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    return total / len(student)


def mse(student, teacher):
    total = 0.0
    for i in range(student.shape[0]):
        for c in range(student.shape[1]):
            total = total + (student[i, c] - teacher[i, c]) ** 2
    return total / len(student)


def ps(student, teacher, target):
    total = student.sum() * 0
    for z_s, z_t, y in zip(student, teacher, target, strict=True):
        negatives = [c for c in range(len(y)) if y[c] == 0]
        for positive in [c for c in range(len(y)) if y[c] == 1]:
            p = z_t[[positive, *negatives]].softmax(0)
            q = z_s[[positive, *negatives]].softmax(0)
            total = total + (p * (p / q).log()).sum()
    return total / len(student)


def _relative_distances(x):
    """|x_i - x_j| / mean over i != j, as a dict over ordered pairs (i, j)."""
    pairs = list(itertools.permutations(range(len(x)), 2))
    distance = {(i, j): (x[i] - x[j]).norm() for i, j in pairs}
    mean = sum(distance.values()) / len(pairs)
    return {pair: d / mean for pair, d in distance.items()}


def rkd_distance(student, teacher):
    d_s, d_t = _relative_distances(student), _relative_distances(teacher)
    return sum(smooth_l1(d_s[pair], d_t[pair]) for pair in d_s) / len(student) ** 2


def rkd_angle(student, teacher):
    size = len(student)

    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        return (a @ b) / (a.norm() * b.norm())

    total = 0.0
    for i, j, k in itertools.product(range(size), repeat=3):
        if i != j and k != j:  # otherwise one side has no length, and both angles are 0
            total = total + smooth_l1(cosine(student, i, j, k), cosine(teacher, i, j, k))
    return total / size**3


def pkt(student, teacher):
    def kernel(x):
        x = [row / (row.norm() + 1e-7) for row in x]
        rows = [torch.stack([(a @ b + 1) / 2 for b in x]) for a in x]
        return [row / row.sum() for row in rows]

    total = 0.0
    for row_s, row_t in zip(kernel(student), kernel(teacher), strict=True):
        for q, p in zip(row_s, row_t, strict=True):
            total = total + p * ((p + 1e-7) / (q + 1e-7)).log()
    return total / len(student) ** 2


def _embedding_groups(student, teacher):
    if len(student) < 2:
        return 0.0
    d_s, d_t = _relative_distances(student), _relative_distances(teacher)
    return sum(smooth_l1(d_s[pair], d_t[pair]) for pair in d_s) / len(student)


def led_class_aware(student, teacher, target):
    total = student.sum() * 0
    for c in range(target.shape[1]):
        images = [i for i in range(len(target)) if target[i, c] == 1]
        total = total + _embedding_groups(student[images, c], teacher[images, c])
    return total


def led_instance_aware(student, teacher, target):
    total = student.sum() * 0
    for i in range(len(target)):
        labels = [c for c in range(target.shape[1]) if target[i, c] == 1]
        total = total + _embedding_groups(student[i, labels], teacher[i, labels])
    return total


def hierarchical_context(student, teacher):
    """Square maps whose size is a power of two: pooling is then a mean over equal blocks."""
    size = student.shape[-1]
    levels = [(size, 1.0)]
    for pooled in (4, 2, 1):
        if pooled < size:
            levels.append((pooled, levels[-1][1] / 2))

    def pool(x, to):
        step = size // to
        rows = [
            torch.stack(
                [
                    x[:, :, r * step : (r + 1) * step, c * step : (c + 1) * step].mean((2, 3))
                    for c in range(to)
                ],
                -1,
            )
            for r in range(to)
        ]
        return torch.stack(rows, -2)

    total = sum(w * ((pool(student, n) - pool(teacher, n)) ** 2).mean() for n, w in levels)
    return total / sum(w for _, w in levels)


def _normalise(x, norm):
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    return (x - mean) / (variance + norm.eps).sqrt() * scale + shift


def review(module, students, teachers):
    """ReviewKD over maps given deep to shallow, with the weights of `module`'s blocks."""
    total, deeper = 0.0, None
    for block, x, teacher in zip(module.blocks, students, teachers, strict=True):
        fused = torch.einsum("mc,bchw->bmhw", block.reduce.weight[:, :, 0, 0], x)
        fused = _normalise(fused, block.reduce_norm)
        if deeper is not None:
            factor = fused.shape[-1] // deeper.shape[-1]
            deeper = deeper.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
            both = torch.cat((fused, deeper), 1)
            attention = torch.einsum("ac,bchw->bahw", block.attention.weight[:, :, 0, 0], both)
            attention = torch.sigmoid(attention + block.attention.bias[:, None, None])
            fused = attention[:, :1] * fused + attention[:, 1:] * deeper
        deeper = fused
        size = fused.shape[-1]
        padded = torch.nn.functional.pad(fused, (1, 1, 1, 1))
        output = 0.0
        for dy, dx in itertools.product(range(3), repeat=2):
            window = padded[:, :, dy : dy + size, dx : dx + size]
            output = output + torch.einsum(
                "tm,bmhw->bthw", block.expand.weight[:, :, dy, dx], window
            )
        total = total + hierarchical_context(_normalise(output, block.expand_norm), teacher)
    return total


def kd(student, teacher, temperature):
    total = 0.0
    for z_s, z_t in zip(student, teacher, strict=True):
        p = (z_t / temperature).exp() / (z_t / temperature).exp().sum()
        q = (z_s / temperature).exp() / (z_s / temperature).exp().sum()
        for c in range(len(p)):
            total = total + p[c] * (p[c].log() - q[c].log())
    return temperature**2 * total / len(student)


def _mean_of_blocks(x, size):
    """Square maps whose sizes divide each other."""
    step = x.shape[-1] // size
    rows = [
        [x[:, :, r * step : (r + 1) * step, c * step : (c + 1) * step] for c in range(size)]
        for r in range(size)
    ]
    return torch.stack([torch.stack([b.mean((2, 3)) for b in row], -1) for row in rows], -2)


def fitnet(weight, bias, student, teacher):
    """The hint loss with a connector of weights [T, S] and biases [T]."""
    size = min(student.shape[-1], teacher.shape[-1])
    connected = []
    for channel in range(len(weight)):  # the connector first, then the mean over blocks
        parts = [weight[channel, c] * student[:, c] for c in range(student.shape[1])]
        connected.append(sum(parts) + bias[channel])
    ours, theirs = _mean_of_blocks(torch.stack(connected, 1), size), _mean_of_blocks(teacher, size)
    total = 0.0
    for i, t, r, c in itertools.product(*(range(n) for n in theirs.shape)):
        total = total + (ours[i, t, r, c] - theirs[i, t, r, c]) ** 2
    return total / theirs.numel()


def at(student_maps, teacher_maps):
    """One map of each network for each level."""

    def attention(image):
        places = [(image[:, r, c] ** 2).sum() for r, c in _places(image)]
        norm = sum(place**2 for place in places) ** 0.5
        return [place / norm for place in places]

    total = 0.0
    for student, teacher in zip(student_maps, teacher_maps, strict=True):
        level = 0.0
        for image_s, image_t in zip(student, teacher, strict=True):
            for a, b in zip(attention(image_s), attention(image_t), strict=True):
                level = level + (a - b) ** 2
        total = total + level / (len(student) * len(_places(student[0])))
    return total


def _places(image):
    return list(itertools.product(range(image.shape[-2]), range(image.shape[-1])))


def sp(student, teacher):
    def rows(x):
        found = []
        for a in x:
            row = [(a * b).sum() for b in x]
            norm = sum(entry**2 for entry in row) ** 0.5
            found.append([entry / norm for entry in row])
        return found

    total = 0.0
    for row_s, row_t in zip(rows(student), rows(teacher), strict=True):
        for g_s, g_t in zip(row_s, row_t, strict=True):
            total = total + (g_s - g_t) ** 2
    return total / len(student) ** 2


def _pearson(x, y):
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    variances = [sum((a - m) ** 2 for a in v) for v, m in ((x, mean_x), (y, mean_y))]
    return covariance / (variances[0] * variances[1]) ** 0.5


def dist(student, teacher):
    """Mean over rows of 1 - Pearson's correlation of probabilities."""
    rows = zip(student.sigmoid(), teacher.sigmoid(), strict=True)
    return sum(1 - _pearson(list(x), list(y)) for x, y in rows) / len(student)


def asl(logits, target, gamma_neg, gamma_pos, margin):
    """Summed over labels, averaged over images."""
    total = 0.0
    for z, y in zip(logits, target, strict=True):
        for p, is_present in zip(z.sigmoid(), y, strict=True):
            if is_present:
                total = total - (1 - p) ** gamma_pos * p.log()
            elif p > margin:
                total = total - (p - margin) ** gamma_neg * (1 - (p - margin)).log()
    return total / len(logits)
