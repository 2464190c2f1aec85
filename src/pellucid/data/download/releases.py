"""Where the datasets are published: addresses, sizes in bytes and the checksums that their publishers state."""

from __future__ import annotations

from pellucid.data.download.release import Release, ReleaseFile
from pellucid.data.readers.medmnist.sets import SETS, SIZES, file_name

# Addresses: NIH's batch_download_zips.py; MD5: question 7 of its FAQ_CHESTXRAY.pdf.
_NIH = (
    ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", 2_008_470_987, "fe8ed0a6961412fddcbb3603c11b3698"),
    ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", 3_952_623_504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("f1t00wrtdk94satdfb9olcolqx20z2jp", 3_929_234_850, "2301d03bde4c246388bad3876965d574"),
    ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", 3_838_903_983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", 3_935_496_531, "1861f3cd0ef7734df8104f2b0309023b"),
    ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", 3_986_301_172, "456b53a8b351afd92a35bc41444c58c8"),
    ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", 4_016_328_426, "1075121ea20a137b87f290d6a4a5965e"),
    ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", 4_018_347_353, "b61f34cec3aa69f295fbb593cbd9d443"),
    ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", 4_111_327_929, "442a3caa61ae9b64e61c561294d1e183"),
    ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", 4_181_556_296, "09ec81c4c31e32858ad8cf965c494b74"),
    ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", 4_187_084_020, "499aefc67207a5a97692424cf5dbeed5"),
    ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", 2_914_187_733, "dc9fda1757c2de0032b63347a7d2895c"),
)

CHESTXRAY14 = Release(
    tuple(
        ReleaseFile(f"https://nihcc.box.com/shared/static/{place}.gz", f"images_{number:03}.tar.gz", size, md5)
        for number, (place, size, md5) in enumerate(_NIH, 1)
    ),
    by_hand=("Data_Entry_2017*.csv", "train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"),
    instructions="They have no address of their own: download them at https://nihcc.app.box.com/v/ChestXray-NIHCC.",
)

KERMANY2018 = Release(
    by_hand=("train", "test"),
    instructions=(
        "Download ChestXRay2017.zip at https://data.mendeley.com/datasets/rscbjbr9sj/2 and unpack it; its folder "
        "chest_xray holds them."
    ),
)

COVID_FINDINGS = Release(
    by_hand=("images", "masks", "metadata.csv"),
    instructions=(
        "They are at https://github.com/GeneralBlockchain/covid-19-chest-xray-segmentations-dataset; each image has a "
        "licence of its own, which metadata.csv names."
    ),
)

CIFAR10 = Release(  # MD5: https://www.cs.toronto.edu/~kriz/cifar.html
    (
        ReleaseFile(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
        ),
        ReleaseFile(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "cifar-10-python.tar.gz",
            170_498_071,
            "c58f30108f718f92721af3b95e74349a",
            optional=True,
        ),
    )
)

IMAGENET = Release(
    by_hand=("train", "val"),
    instructions=(
        "Register at https://www.image-net.org/, accept its terms of access, and download ILSVRC2012_img_train.tar "
        "(MD5 1d675b47d978889d74fa0da5fadfb00e) and ILSVRC2012_img_val.tar (MD5 29b22e2961454d5413ddabcf34fc5622). "
        "Unpack them to train/ and val/ with one folder per class, as train/n01440764/*.JPEG."
    ),
)

COCO = Release(  # no checksums are published
    (
        ReleaseFile(
            "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
            "annotations_trainval2017.zip",
            252_907_541,
        ),
        ReleaseFile("http://images.cocodataset.org/zips/val2017.zip", "val2017.zip", 815_585_330),
        ReleaseFile("http://images.cocodataset.org/zips/train2017.zip", "train2017.zip", 19_336_861_798),
    )
)

JSRT = Release(
    by_hand=("**/JPCLN001.IMG", "**/JPCNN001.IMG", "**/CLNDAT_EN.txt"),
    instructions=(
        "Register at http://db.jsrt.or.jp/eng.php, accept the terms of use, and download the images of all 247 cases "
        "and the clinical information; unpack them there."
    ),
)

MEDMNIST = Release(  # MD5: the package medmnist 3.0.2
    tuple(
        ReleaseFile(
            f"https://zenodo.org/records/10519652/files/{file_name(name, size)}?download=1",
            file_name(name, size),
            md5=md5,
            unpack=False,
            optional=True,
        )
        for name, facts in SETS.items()
        for size, md5 in zip(SIZES, facts.md5, strict=True)
    )
)
