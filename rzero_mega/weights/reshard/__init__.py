"""From the learner's shards to full tensors or other shards: a pure plan, and executors that replay it.

| file | knows |
|---|---|
| `placement.py` | which rank holds which shard of which parameter |
| `plan.py` | which region goes from where to where, bucket by bucket; no collective |
| `validation.py` | everything that is wrong with a placement, at once |
| `reference.py` | executor: gather and broadcast tensor by tensor, for debugging |
| `fast.py` | executor: point to point, bucket by bucket, the next bucket on its way while one is used |
"""
