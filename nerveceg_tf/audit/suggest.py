"""Suggests a fix for each finding of an audit."""

from nerveceg_tf.audit.audit import Audit, Finding
from nerveceg_tf.data.fixes import Fix


def suggest_fixes(audit: Audit) -> list[Fix]:
    """Suggests a fix for each finding.

    - A frame that cannot be used is dropped. Of two identical frames, the second is dropped.
    - If only one of two frames of a scan has a nerve, the other gets its mask. If the two frames
      are identical in every pixel, the one without a nerve is dropped instead.
    - If both have a nerve, but in different places, both are dropped, because nobody knows which
      mask is right. So are two frames that have only labels.
    - Subjects that share a scan are kept in the same subset of a split.

    Args:
        audit: the result of `audit_frames`.

    Returns:
        The fixes; `write_fixes` writes them to a CSV file.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> finding = Finding("duplicate", ("1_1", "1_2"), "identical frames", exact=True)
        >>> (fix,) = suggest_fixes(Audit(SAMPLES, {}, {}, (finding,), ()))
        >>> fix.name, fix.action, fix.reason
        ('1_2', 'drop', 'duplicate: identical frames')
    """
    drops: dict[str, Fix] = {}
    copies: dict[str, list[Fix]] = {}
    linked_pairs: list[Fix] = []

    def drop(name: str, finding: Finding) -> None:
        drops.setdefault(name, Fix(name, "drop", reason=f"{finding.kind}: {finding.detail}"))

    for finding in audit.findings:
        reason = f"{finding.kind}: {finding.detail}"
        if finding.kind == "unreadable" and finding.names:
            drop(finding.names[0], finding)
        elif finding.kind == "duplicate":
            drop(finding.names[1], finding)
        elif finding.kind == "leak":
            linked_pairs.append(
                Fix(finding.names[0], "keep_together", finding.names[1], 0, 0, reason)
            )
        elif finding.kind == "contradiction":
            one, other = finding.names
            of_labels = [n for n in (one, other) if n in audit.frames and not _has_mask(audit, n)]
            if of_labels or audit.present[one] == audit.present[other]:
                drop(one, finding)
                drop(other, finding)
                continue
            down, right = finding.shift
            empty, source = (other, one) if audit.present[one] else (one, other)
            if empty == one:
                down, right = -down, -right
            if finding.exact:
                drop(empty, finding)
            else:
                step = Fix(empty, "copy_mask", source, down, right, reason)
                copies.setdefault(empty, []).append(step)
    usable_copies = []
    for name, steps in copies.items():
        if name in drops:
            continue
        usable = next((step for step in steps if step.source not in drops), None)
        if usable:
            usable_copies.append(usable)
        else:
            reason = f"{steps[0].reason}; {steps[0].source} is dropped"
            drops[name] = Fix(name, "drop", reason=reason)
    remaining = [step for step in linked_pairs if not {step.name, step.source} & drops.keys()]
    return [*drops.values(), *usable_copies, *remaining]


def _has_mask(audit: Audit, name: str) -> bool:
    return audit.frames[name].mask is not None
