"""Mathematics: questions in words, answers in a box, judged by the grader."""
