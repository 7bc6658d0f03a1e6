#!/bin/sh
# Numbers, tables, pictures, machine learning.
# The list is complete, so that nothing has to be resolved, and today's build is that of next year. What Debian's
# packages bring of the same name stays where it is, behind these.
set -eu
pip3 install -q --no-cache-dir --no-deps --ignore-installed --no-compile --progress-bar off --retries 10 -r /dev/stdin <<'EOF'
absl-py==2.5.1
contourpy==1.3.3
cycler==0.12.1
fonttools==4.68.0
h5py==3.16.0
joblib==1.6.0
keras==3.9.0
kiwisolver==1.5.1
markdown-it-py==4.3.0
matplotlib==3.10.1
mdurl==0.1.2
ml_dtypes==0.6.0
namex==0.1.0
numpy==2.2.3
opencv-python==4.11.0.86
optree==0.20.0
packaging==25.0
pandas==2.2.3
pillow==11.1.0
Pygments==2.21.0
pyparsing==3.3.3
python-dateutil==2.9.0.post0
pytz==2026.6
rich==13.9.4
scikit-learn==1.6.1
scipy==1.15.2
seaborn==0.13.2
six==1.17.0
threadpoolctl==3.8.0
typing_extensions==4.16.0
tzdata==2026.6
EOF
