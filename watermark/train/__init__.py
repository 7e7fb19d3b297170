"""The recipe of the house seal: data, training, export, calibration and measurement.

``python -m watermark.train --help`` lists the commands; ``configs/train/seal.yaml`` holds the
profiles; ``docs/seal-model-card.md`` says what came out.
"""
