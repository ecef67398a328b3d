"""Films of ChestX-ray14 that are not what the archive says: turned, inverted, lateral, or no chest at all.

Found as outliers of a network of the gates that was trained on other patients, and looked at one by one.
"""

# The way (see models.gates.WAYS) that puts these films of the archive right; other copies of them are upright.
WRONG_WAY = {
    **dict.fromkeys(
        (
            "nih_128/00002180_000.jpg", "nih_128/00002720_002.jpg", "nih_128/00003220_004.jpg",
        ), 1
    ),
    **dict.fromkeys(
        (
            "nih_128/00002376_002.jpg", "nih_128/00002868_008.jpg", "nih_128/00002898_001.jpg",
            "nih_128/00003064_030.jpg", "nih_128/00003122_004.jpg", "nih_128/00003490_011.jpg",
            "nih_128/00003562_000.jpg", "nih_512/00003490_011.jpg",
        ), 2
    ),
    **dict.fromkeys(
        (
            "nih_128/00001491_000.jpg", "nih_128/00001814_001.jpg", "nih_128/00002815_003.jpg",
            "nih_128/00003693_005.jpg", "nih_512/00000061_025.jpg", "nih_512/00001880_006.jpg",
            "nih_512/00002117_004.jpg", "nih_512/00002265_000.jpg", "nih_512/00002451_012.jpg",
            "nih_512/00002599_004.jpg", "nih_512/00003081_000.jpg", "nih_512/00009600_020.jpg",
            "nih_512/00010531_041.jpg",
        ), 3
    ),
    "nih_128/00002300_026.jpg": 4,
}  # fmt: skip

LATERAL = frozenset(
    f"nih_128/{name}.jpg"
    for name in (
        "00001602_000", "00001758_001", "00001803_003", "00002058_012", "00002097_000", "00002117_003", "00002299_002",
        "00002354_000", "00002391_000", "00002592_003", "00002639_009", "00002644_006", "00002705_000", "00003023_000",
        "00003094_002", "00003122_001", "00003426_035",
    )
)  # fmt: skip
NOT_CHEST = frozenset({"nih_128/00002359_018.jpg"})
