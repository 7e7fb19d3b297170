"""Training of the house watermark model: data, export, calibration, figures.

``python -m watermark.train --help`` lists the commands; ``configs/train/seal.yaml`` holds the
profiles; ``docs/seal-model-card.md`` says what came out.
"""
