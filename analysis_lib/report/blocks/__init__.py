"""The tables and values that a page can name: each is a few lines that turn reference results into Markdown.

A function of `TABLES` or `VALUES` takes the reference of one benchmark and the options of its mark, and returns text. A
table of means says how many seeds, runs or samples (n) stand behind it; what used labels of absent classes reads
*oracle*.
"""

from .ablations import ablation, ablation_changes, ablation_claims, ablation_grid, collapse
from .beside import claims_beside, recovered_beside
from .calibration import accuracy, against, against_pretrained, learning_rates, mean, posthoc, untouched
from .claims import claims, verdicts
from .estimators import absent_share, estimators, label_shift
from .explanation import first_step, gain_prediction, head, step_check, toy
from .memory import memory, memory_peak, memory_size
from .methods import forgetting, method_choice, method_claims, method_costs, method_differences, methods, sequence, wise
from .origin import classes, groups, images, licences, made_on, minutes, overview, processors, processors_before
from .petl import (
    petl_choice,
    petl_claims,
    petl_costs,
    petl_depths,
    petl_differences,
    petl_ensembles,
    petl_memory,
    petl_methods,
    petl_parameters,
    petl_regrets,
    petl_wise,
)
from .robustness import kills, kills_in_all, kills_left, loads
from .speed import half_accuracy, speed, speed_made_on
from .temporal import temporal, temporal_claims
from .vtab import vtab_1k

# counts, names and single measurements: no n to tell
WITHOUT_MEANS = {
    "overview": overview,
    "licences": licences,
    "memory": memory,
    "speed": speed,
    "kills": kills,
    "loads": loads,
    "petl_parameters": petl_parameters,
    "petl_depths": petl_depths,
}
TABLES = {
    function.__name__: function
    for function in (
        accuracy,
        untouched,
        against_pretrained,
        posthoc,
        learning_rates,
        estimators,
        label_shift,
        absent_share,
        first_step,
        step_check,
        gain_prediction,
        head,
        toy,
        claims,
        claims_beside,
        recovered_beside,
        methods,
        method_differences,
        method_claims,
        method_choice,
        method_costs,
        wise,
        forgetting,
        sequence,
        temporal,
        temporal_claims,
        ablation,
        ablation_changes,
        ablation_grid,
        ablation_claims,
        collapse,
        petl_methods,
        petl_differences,
        petl_claims,
        petl_regrets,
        petl_wise,
        petl_ensembles,
        petl_choice,
        petl_costs,
        petl_memory,
        processors,
        processors_before,
        vtab_1k,
    )
}
TABLES |= WITHOUT_MEANS
VALUES = {
    function.__name__: function
    for function in (
        made_on,
        mean,
        against,
        images,
        groups,
        classes,
        verdicts,
        minutes,
        memory_peak,
        memory_size,
        half_accuracy,
        speed_made_on,
        kills_in_all,
        kills_left,
    )
}
