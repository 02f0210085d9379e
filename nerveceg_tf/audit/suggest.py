"""Proposes a fix for everything that an audit found."""

from nerveceg_tf.audit.audit import Audit, Finding
from nerveceg_tf.data.fixes import Fix


def suggest_fixes(audit: Audit) -> list[Fix]:
    """Proposes how to mend each finding.

    - A frame that cannot be used is dropped, as is the second of two equal frames.
    - Of two frames of one scan, one without a nerve gets the other's mask. If they are equal in
      every pixel it is dropped instead, since it would teach nothing more.
    - Two that both have a nerve, but in different places, are both dropped: nobody knows which is
      right.
    - Subjects that share a scan are kept linked_pairs.
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
            if audit.present[one] == audit.present[other]:
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
    kept = []
    for name, steps in copies.items():
        if name in drops:
            continue
        step = next((step for step in steps if step.source not in drops), None)
        if step:
            kept.append(step)
        else:
            reason = f"{steps[0].reason}; {steps[0].source} is dropped"
            drops[name] = Fix(name, "drop", reason=reason)
    left = [step for step in linked_pairs if not {step.name, step.source} & drops.keys()]
    return [*drops.values(), *kept, *left]
