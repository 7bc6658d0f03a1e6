#!/bin/sh
# The web, databases, models from Hugging Face.
# The list is complete, so that nothing has to be resolved, and today's build is that of next year. What Debian's
# packages bring of the same name stays where it is, behind these.
set -eu
pip3 install -q --no-cache-dir --no-deps --ignore-installed --no-compile --progress-bar off --retries 10 -r /dev/stdin <<'EOF'
asgiref==3.13.0
attrs==26.1.0
beautifulsoup4==4.13.3
blinker==1.9.0
certifi==2026.10.18
charset-normalizer==3.5.2
click==8.5.1
Django==5.1.7
filelock==4.2.12
Flask==3.1.0
fsspec==2026.9.0
greenlet==3.5.6
hf-xet==1.8.0
huggingface_hub==0.36.2
idna==3.20
itsdangerous==2.2.0
Jinja2==3.1.6
MarkupSafe==3.0.4
networkx==3.6.1
nltk==3.10.4
PyYAML==6.0.3
regex==2026.11.15
requests==2.32.3
safetensors==0.8.0
soupsieve==2.6
SQLAlchemy==2.0.38
sqlparse==0.6.1
tiktoken==0.14.0
tokenizers==0.21.4
tqdm==4.70.1
transformers==4.49.0
urllib3==2.8.0
Werkzeug==3.1.9
EOF
