"""What evalscope's own interpreter runs: its gsm8k benchmark on problems of ours, against an endpoint.

PYTHON run_evalscope.py DATA URL MODEL OUTPUT [MAX_TOKENS]; the key is that of OPENAI_API_KEY. The message is the bare
question: the endpoint of `rzero-mega serve` has the prompt. Nothing of this package is imported.
"""

from __future__ import annotations

import os
import sys


def main(data: str, url: str, model: str, output: str, max_tokens: str = "80") -> None:
    """Score the model greedily; results go into the folder `output`."""
    from evalscope import TaskConfig, run_task

    benchmark = {
        "dataset_id": os.path.abspath(data),
        "subset_list": ["default"],
        "few_shot_num": 0,
        "prompt_template": "{question}",
    }
    run_task(
        TaskConfig(
            model=model,
            api_url=url,
            api_key=os.environ["OPENAI_API_KEY"],
            eval_type="openai_api",
            datasets=["gsm8k"],
            dataset_args={"gsm8k": benchmark},
            generation_config={"temperature": 0.0, "max_tokens": int(max_tokens)},
            eval_batch_size=32,
            work_dir=output,
            no_timestamp=True,
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
