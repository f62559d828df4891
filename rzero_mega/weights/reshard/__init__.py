"""From the learner's shards to full tensors or another cut of them: a pure plan, and executors that replay it.

| file | knows |
|---|---|
| `placement.py` | which rank holds which shard of which parameter |
| `plan.py` | which rectangle goes from where to where, bucket by bucket; no collective |
| `validation.py` | everything that is wrong with a placement or a plan, at once |
| `reference.py` | executor: gather and broadcast tensor by tensor, for debugging |
| `fast.py` | executor: point to point, bucket by bucket, the next bucket on its way while one is used |
"""
