"""How far a validation RMSE can be trusted: pure functions on arrays of errors in metres.

Photos of one spot are not independent, so spots are resampled; seeds are crossed with them, because
every seed meets the same photos. The RMSE of a cell is the mean over its seeds of each run's RMSE,
which is what `select` ranks by. Everything random follows `seed`: same input, same numbers.
"""

from img2gps.analysis.stats.averages import Averaged, average_error_m, average_of_best
from img2gps.analysis.stats.chances import (
    Chance,
    Equivalence,
    Profile,
    chance_of_lower,
    equivalence,
    profile,
)
from img2gps.analysis.stats.comparisons import (
    Resamples,
    Verdicts,
    beats_baseline,
    confidence_set,
    holm,
    resample,
)
from img2gps.analysis.stats.detection import POWER, Detectable, detectable, photos_needed
from img2gps.analysis.stats.floor import label_floor_m
from img2gps.analysis.stats.folds import FoldMean, fold_mean
from img2gps.analysis.stats.importance import Effect, importance
from img2gps.analysis.stats.intervals import (
    Interval,
    above_baseline,
    cell_interval,
    contrast_interval,
    difference_interval,
)
from img2gps.analysis.stats.luck import ASSUMED, NO_LUCK, Luck, astray, luck_of
from img2gps.analysis.stats.places import OF_DIFFERENCES, OF_TESTS, Expected, Places
from img2gps.analysis.stats.power import (
    SIMULATIONS,
    Power,
    Test,
    first_is_lower,
    first_wins_alone,
    simulated_power,
    with_difference,
)
from img2gps.analysis.stats.sample import LEVEL, MIN_SPOTS, N_RESAMPLES, cell_rmse
from img2gps.analysis.stats.selection import Corrected, selection_corrected
from img2gps.analysis.stats.strays import Strays, strays_of
from img2gps.analysis.stats.tuning import (
    ORDERS,
    Tuning,
    as_it_went,
    in_any_order,
    of_random_search,
)

__all__ = ["LEVEL", "MIN_SPOTS", "N_RESAMPLES", "POWER", "SIMULATIONS"]
__all__ += [
    "Averaged",
    "Corrected",
    "Detectable",
    "Effect",
    "Expected",
    "FoldMean",
    "Interval",
    "Places",
    "Resamples",
    "Verdicts",
]
__all__ += ["Chance", "Equivalence", "Profile", "chance_of_lower", "equivalence", "profile"]
__all__ += ["Power", "Test", "first_is_lower", "first_wins_alone", "simulated_power"]
__all__ += ["OF_DIFFERENCES", "OF_TESTS", "with_difference"]
__all__ += ["ASSUMED", "NO_LUCK", "Luck", "above_baseline", "astray", "beats_baseline", "luck_of"]
__all__ += ["average_error_m", "average_of_best", "cell_interval", "cell_rmse", "confidence_set"]
__all__ += ["contrast_interval", "detectable", "difference_interval", "fold_mean", "holm"]
__all__ += ["importance", "label_floor_m", "photos_needed", "resample", "selection_corrected"]
__all__ += ["Strays", "strays_of"]
__all__ += ["ORDERS", "Tuning", "as_it_went", "in_any_order", "of_random_search"]
