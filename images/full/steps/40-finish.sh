#!/bin/sh
# What the documentation lists must be there in its version, and must work, before the image is kept.
set -eu
cd /home/daytona
# As its user has it: not with what leads the build to mirrors and certificates.
as() { runuser -u daytona -- env -i HOME=/home/daytona PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 "$@"; }
python3 -m compileall -q /usr/local/lib/python3* > /dev/null || true
as env MPLBACKEND=Agg python3 - <<'EOF'
import importlib, importlib.metadata
import matplotlib.pyplot
# OpenCV wants a library of Debian's, and Keras a backend, of the user's choice.
wrong = []
for package, version, module in [
    ("beautifulsoup4", "4.13.3", "bs4"), ("django", "5.1.7", "django"), ("flask", "3.1.0", "flask"), ("keras", "3.9.0", ""),
    ("matplotlib", "3.10.1", "matplotlib"), ("numpy", "2.2.3", "numpy"), ("openai", "1.65.4", "openai"),
    ("opencv-python", "4.11.0.86", ""), ("pandas", "2.2.3", "pandas"), ("pillow", "11.1.0", "PIL"),
    ("pydantic-ai", "0.0.35", "pydantic_ai"), ("requests", "2.32.3", "requests"), ("scikit-learn", "1.6.1", "sklearn"),
    ("scipy", "1.15.2", "scipy"), ("seaborn", "0.13.2", "seaborn"), ("SQLAlchemy", "2.0.38", "sqlalchemy"),
    ("transformers", "4.49.0", "transformers"), ("anthropic", "0.49.0", "anthropic"), ("daytona_sdk", "0.11.1", "daytona_sdk"),
    ("huggingface", "0.0.1", ""), ("instructor", "1.7.3", "instructor"), ("langchain", "0.3.20", "langchain"),
    ("llama-index", "0.12.22", "llama_index.core"), ("ollama", "0.4.7", "ollama"),
]:
    found = importlib.metadata.version(package)
    if found != version:
        wrong.append(f"{package} is {found}, not {version}")
    try:
        if module:
            importlib.import_module(module)
    except Exception as e:
        wrong.append(f"{module}: {e!r}")
assert not wrong, wrong
EOF
as pylsp --version > /dev/null
rm -rf /root/.cache /root/.config /home/daytona/.cache/pip /tmp/* /var/tmp/*
