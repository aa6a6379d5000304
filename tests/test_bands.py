import pytest

from l4s_utils import bands
from l4s_utils.errors import UsageError


def test_the_two_readings_of_rgb():
    assert bands.indices("RGB") == [3, 2, 1]
    assert bands.indices("RGB_PRINTED") == [2, 3, 4]
    assert bands.names("RGB_PRINTED") == ("B3", "B4", "B5")
    assert bands.indices("B8") == [7] and bands.indices("HEIGHT") == [12, 13]
    assert bands.indices("RGB_HEIGHT_NIR") == [3, 2, 1, 7, 12, 13]
    assert bands.indices("RGB_HEIGHT_NIR_PRINTED") == [2, 3, 4, 5, 12, 13]


def test_fourteen_bands_in_file_order():
    assert [band.index for band in bands.BANDS] == list(range(14))
    assert bands.names("ALL") == tuple(f"B{i}" for i in range(1, 13)) + ("slope", "elevation")
    means = [1111.81236406, 824.63171476, 663.41636217, 445.17289745, 645.8582926, 1547.73508126, 1960.44401001]
    means += [1941.32229668, 674.07572865, 9.04787384, 1113.98338755, 519.90397929, 20.29228266, 772.83144788]
    assert bands.raw_means("ALL").tolist() == means
    assert bands.raw_means(["elevation", "B10"]).tolist() == [772.83144788, 9.04787384]


@pytest.mark.parametrize("wrong", ["RGBX", ["B4", "B8A"], ["B4", "B4"], []])
def test_unknown_or_repeated_bands_are_refused(wrong):
    with pytest.raises(UsageError):
        bands.names(wrong)


def test_the_error_lists_the_choices():
    with pytest.raises(UsageError, match="RGB_HEIGHT.*B12"):
        bands.names("rgb")
