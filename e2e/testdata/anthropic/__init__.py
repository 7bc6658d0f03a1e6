"""Stands in for the model's SDK: answers every message with the same tool call."""

import os
from types import SimpleNamespace


class Anthropic:
    def __init__(self, **_):
        self.messages = self

    def create(self, *, messages, tools, **_):
        assert messages[0]["role"] == "user" and "dataset.csv" in messages[0]["content"]
        assert tools[0]["name"] == "run_python_code"
        with open(os.environ["E2E_MODEL_ANSWER"], encoding="utf-8") as f:
            code = f.read()
        text = SimpleNamespace(type="text", text="I will analyze the data.")
        call = SimpleNamespace(type="tool_use", name="run_python_code", input={"code": code})
        return SimpleNamespace(content=[text, call])
