"""The arithmetic of docs/paper.md, on the tables that stand there.

A rate fits a test set if some count gives it, rounded to the decimals that are printed; ties count as fitting.
"""

import re
from fractions import Fraction
from functools import cache
from math import floor
from pathlib import Path

import pytest
from test_results import make_results

PAGE = (Path(__file__).parents[1] / "docs" / "paper.md").read_text()
LIST = PAGE.split("## What does not add up")[1].split("Two more are seen by reading")[0]
ITEMS = {int(number): " ".join(text.split()) for number, text in re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", LIST, re.M | re.S)}
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
TEXT = " ".join(PAGE.split())
EQUATIONS = re.findall(rf"({NUMBER}(?: ?[-+x/] ?(?:{NUMBER}|\({NUMBER} \+ {NUMBER}\)))+) = ({NUMBER})", TEXT)
RATES = ("accuracy", "sensitivity", "specificity", "precision", "F1")
table = make_results.paper_table                        # {first cell: {column: cell}}, cells as printed
ROWS = ("CNN-1, Test-1", "CNN-2, Test-1")


@cache
def exact(printed):
    return Fraction(printed.replace(",", ""))


def rounds_to(value, printed):
    half = Fraction(1, 2 * 10 ** len(printed.partition(".")[2]))
    return abs(value - exact(printed)) <= half


@cache
def counts(printed, total, percent=False):
    """How many right of `total` give the rate `printed`: a list."""
    return [k for k in range(total + 1) if rounds_to(Fraction(100 * k if percent else k, total), printed)]


def matrices(covid, others, rates):
    """All (COVID right, others right) whose rates round to those of `rates` that are not empty."""
    found = []
    for tp in counts(rates["sensitivity"], covid):
        for tn in counts(rates["specificity"], others):
            fp = others - tn
            values = {"accuracy": Fraction(tp + tn, covid + others), "F1": Fraction(2 * tp, covid + tp + fp)}
            values["precision"] = Fraction(tp, tp + fp) if tp + fp else None
            if all(value is not None and rounds_to(value, rates[name]) for name, value in values.items() if rates.get(name)):
                found.append((tp, tn))
    return found


def size(number, test_set):
    row = table(number)[test_set]
    return int(row["COVID"]), int(row["non-COVID"])


@pytest.fixture(params=[size(1, "Test-1"), size(2, "Test-1"), (118, 95)], ids=str)
def stated_size(request):
    return request.param


def test_the_page_has_thirteen_items_and_the_equations_are_found():
    assert list(ITEMS) == list(range(1, 14))
    assert len(EQUATIONS) == TEXT.count(" = ") > 45     # none is left out by the pattern


@pytest.mark.parametrize("left, right", EQUATIONS)
def test_every_equation_on_the_page_holds_to_the_digits_it_shows(left, right):
    value = eval(re.sub(NUMBER, lambda number: f"Fraction('{exact(number[0])}')", left).replace("x", "*"))
    assert rounds_to(value, right), f"{left} is {float(value)}"


@pytest.mark.parametrize("number", [1, 2])
def test_training_sets_are_augmented_four_times(number):
    row = table(number)["training"]
    assert 4 * (int(row["COVID"]) + int(row["non-COVID"])) == exact(row["augmented"])


@pytest.mark.parametrize("work", table(7))
def test_the_quotients_of_table_7_are_right(work):
    row = table(7)[work]
    assert rounds_to(exact(row["sensitivity"]) / exact(row["parameters (M)"]), row["quotient"])
    assert exact(row["sensitivity"]) == exact(table(6)[work]["sensitivity"])


# 1, 2 and 3: which test sets give the rates

@pytest.mark.parametrize("row, right", list(zip(ROWS, [(79, 85), (85, 81)])))
def test_of_all_test_sets_up_to_150_and_150_only_100_and_100_gives_table_5(row, right):
    rates = table(5)[row]
    fits = [(covid, others, *cells) for covid in range(1, 151) for others in range(1, 151)
            for cells in matrices(covid, others, rates)]
    assert fits == [(100, 100, *right)]
    tp, tn = right
    called = tp + 100 - tn
    for name, fraction in zip(("accuracy", "precision", "F1"), (f"{tp + tn}/200", f"{tp}/{called}", f"{2 * tp}/{100 + called}")):
        assert f"{fraction} = {rates[name].rstrip('0')}" in ITEMS[1]


@pytest.mark.parametrize("row", ROWS)
def test_table_5s_first_three_rates_are_each_impossible_on_the_stated_test_sets(row, stated_size):
    covid, others = stated_size
    rates = table(5)[row]
    for name, total in zip(RATES, (covid + others, covid, others)):
        assert counts(rates[name], total) == []
        assert counts(rates[name], 200 if name == "accuracy" else 100)


@pytest.mark.parametrize("row", ROWS)
def test_with_three_rates_read_to_two_decimals_no_count_fits_table_5s_precision(row, stated_size):
    rates = table(5)[row]
    loose = {name: rates[name][:3] for name in RATES[:3]}
    assert matrices(*stated_size, loose | {"precision": rates["precision"]}) == []
    assert matrices(100, 100, loose | {"precision": rates["precision"]})


def test_test_2s_accuracy_is_impossible_on_195_slices():
    rates, total = table(5)["CNN-1, Test-2"], sum(size(1, "Test-2"))
    assert counts(rates["accuracy"], total) == []
    assert 97 < exact(rates["accuracy"]) * total < 98 and f"97/{total}" in ITEMS[2] and f"98/{total}" in ITEMS[2]


def test_test_2_fits_100_and_105_and_nothing_else_if_its_precision_is_read_as_specificity():
    row = table(5)["CNN-1, Test-2"]
    rates = {"accuracy": row["accuracy"], "sensitivity": row["sensitivity"], "specificity": row["precision"]}
    assert [(others, *cells) for others in range(1, 201) for cells in matrices(100, others, rates)] == [(105, 19, 84)]


def test_test_2s_precision_cannot_be_one():
    row = table(5)["CNN-1, Test-2"]
    [right] = counts(row["sensitivity"], 100)
    assert right == 19
    assert not any(rounds_to(Fraction(right, right + wrong), row["precision"]) for wrong in range(201))
    assert Fraction(19, 24) < exact(row["precision"]) < Fraction(19, 23)
    assert rounds_to(Fraction(right, right + 105 - 84), ".475") and "19/(19 + 21) = .475" in ITEMS[3]


# 4, 5 and 6: how many slices there are

def total(number, kind):
    return sum(int(table(number)[part][kind]) for part in ("training", "validation", "Test-1"))


def test_table_2_lacks_10_of_the_italian_slices_all_of_them_in_test_1():
    italian = [int(part) for part in re.search(r"puts (\d+) / (\d+) / (\d+) of the 100", TEXT).groups()]
    assert sum(italian) == int(table(1)["Test-2"]["COVID"]) == 100
    lacking = [int(table(1)[part]["COVID"]) + more - int(table(2)[part]["COVID"])
               for part, more in zip(("training", "validation", "Test-1"), italian)]
    assert lacking == [0, 0, 10]
    assert total(2, "COVID") == 439 and total(1, "COVID") + 100 == 449


def test_the_text_counts_other_images_than_the_tables():
    in_text = tuple(map(int, re.search(r"says (\d+) COVID and (\d+) others", ITEMS[5]).groups()))
    in_tables = total(1, "COVID"), total(1, "non-COVID")
    assert in_tables == (349, 344) and total(2, "non-COVID") == 344
    assert in_text == (360, 397)
    assert f"= {in_tables[0]} and" in ITEMS[5] and f"= {in_tables[1]}." in ITEMS[5]


def test_no_test_1_is_the_public_splits_test_set():
    public = 98, 105
    assert f"{public[0]} + {public[1]} = {sum(public)}" in ITEMS[6]
    assert size(1, "Test-1") != public != size(2, "Test-1")
    assert sum(size(1, "Test-1")) != sum(public) == sum(size(2, "Test-1"))


# 7: validation accuracies

@pytest.mark.parametrize("number", [3, 4])
@pytest.mark.parametrize("column", ["observed", "estimated"])
def test_no_accuracy_of_tables_3_and_4_is_possible_on_its_validation_set(number, column):
    totals = {3: sum(size(1, "validation")), 4: sum(size(2, "validation"))}
    assert totals == {3: 118, 4: 138}
    assert len(table(number)) == 4
    for row in table(number).values():
        assert not any(counts(row[column], n, percent=True) for n in totals.values()), row[column]
        cut_off = {Fraction(floor(Fraction(10000 * k, totals[number])), 100) for k in range(totals[number] + 1)}
        assert exact(row[column]) not in cut_off


def test_only_one_accuracy_is_a_cut_off_multiple_of_the_other_tables_validation_set():
    cut_off = {n: {Fraction(floor(Fraction(10000 * k, n)), 100) for k in range(n + 1)} for n in (118, 138)}
    fits = [(number, row[column]) for number, other in ((3, 138), (4, 118)) for row in table(number).values()
            for column in ("observed", "estimated") if exact(row[column]) in cut_off[other]]
    assert fits == [(3, "89.85")] and "nor of its own table's, cut off" in ITEMS[7]


# 8 to 11: Table 6 and the time

def test_28_percent_higher_is_18_points_or_27_percent():
    rows = table(6)
    ours = exact(rows["proposed"]["sensitivity"])
    assert [work for work in rows if exact(rows[work]["sensitivity"]) < ours] == ["Wang"]
    wang = exact(rows["Wang"]["sensitivity"])
    assert ours - wang == 18
    assert rounds_to(100 * (ours / wang - 1), "27")
    assert [rounds_to(100 * (ours / exact(other) - 1), "28") for other in ("66.5", "66.6", "66.7")] == [True, True, False]


def f1(precision, recall):
    return 2 * precision * recall / (precision + recall)


def test_wangs_f1_is_64_and_only_just_63_by_rounding():
    row = table(6)["Wang"]
    precision, recall = exact(row["precision"]) / 100, exact(row["sensitivity"]) / 100
    half = Fraction(1, 200)
    assert rounds_to(f1(precision, recall), ".64") and not rounds_to(f1(precision, recall), row["F1"])
    assert rounds_to(f1(precision - half, recall - half), row["F1"])
    assert not rounds_to(f1(precision - half, recall), row["F1"])     # both have to lie low
    assert not rounds_to(f1(precision, recall - half), row["F1"])


@pytest.mark.parametrize("work", ["Xu", "proposed"])
def test_the_other_f1s_of_table_6_are_right_but_for_the_unit(work):
    row = table(6)[work]
    value = f1(exact(row["precision"]) / 100, exact(row["sensitivity"]) / 100)
    assert rounds_to(100 * value if work == "proposed" else value, row["F1"])


def test_the_f1_column_of_table_6_mixes_fractions_and_percents():
    printed = {work: exact(row["F1"]) for work, row in table(6).items() if row["F1"]}
    assert [work for work, value in printed.items() if value > 1] == ["proposed"] and len(printed) == 3
    assert printed["proposed"] == 100 * exact(table(5)["CNN-2, Test-1"]["F1"])


def test_4300_images_take_9_33_hours_unless_781_is_rounded():
    images, printed = re.search(r"([\d,]+) images in ([\d.]+) h on the laptop", TEXT).groups()
    seconds = re.search(r"([\d.]+) s on a laptop's CPU", TEXT)[1]
    hours = exact(images) * exact(seconds) / 3600
    assert rounds_to(hours, "9.33") and not rounds_to(hours, printed)
    times = [Fraction(n, 10000) for n in range(77000, 79001)]
    both = [time for time in times if rounds_to(time, seconds) and rounds_to(exact(images) * time / 3600, printed)]
    assert f"{float(both[0])} to {float(both[-1])} s" in ITEMS[11] and len(both) == 20


# 12: parameters, with ImageNet's 1,000 classes

def resnet(*blocks, bottleneck):
    """Convolutions without bias, batch norm after each (two numbers a channel), one dense layer (arXiv:1512.03385)."""
    convs, c = [(49, 3, 64)], 64
    for width, repeats in zip((64, 128, 256, 512), blocks):
        f = 4 * width if bottleneck else width
        for _ in range(repeats):
            convs += [(1, c, width), (9, width, width), (1, width, f)] if bottleneck else [(9, c, width), (9, width, width)]
            convs += [(1, c, f)] * (c != f)
            c = f
    return parameters(convs, c, 2)


def inception_v3(batch_norm):
    """The 94 convolutions without the auxiliary classifier (arXiv:1512.00567, as Keras and torchvision build it)."""
    convs, c = [(9, 3, 32), (9, 32, 32), (9, 32, 64), (1, 64, 80), (9, 80, 192)], 192
    for pooled in (32, 64, 64):
        convs += [(1, c, 64), (1, c, 48), (25, 48, 64), (1, c, 64), (9, 64, 96), (9, 96, 96), (1, c, pooled)]
        c = 224 + pooled
    convs += [(9, c, 384), (1, c, 64), (9, 64, 96), (9, 96, 96)]
    c = 768
    for w in (128, 160, 160, 192):
        convs += [(1, c, 192), (1, c, w), (7, w, w), (7, w, 192), (1, c, w), *[(7, w, w)] * 3, (7, w, 192), (1, c, 192)]
    convs += [(1, c, 192), (9, 192, 320), (1, c, 192), (7, 192, 192), (7, 192, 192), (9, 192, 192)]
    for c in (1280, 2048):
        convs += [(1, c, 320), (1, c, 384), (3, 384, 384), (3, 384, 384), (1, c, 448), (9, 448, 384)]
        convs += [(3, 384, 384), (3, 384, 384), (1, c, 192)]
    assert len(convs) == 94
    return parameters(convs, 2048, batch_norm)


def parameters(convs, c, batch_norm):
    return sum(k * i * o + batch_norm * o for k, i, o in convs) + 1000 * c + 1000


def test_table_7s_parameters_fit_inception_resnet_resnet_in_this_order():
    printed = [table(7)[work]["parameters (M)"] for work in ("Wang", "Xu", "Li")]
    networks = inception_v3(3), resnet(2, 2, 2, 2, bottleneck=False), resnet(3, 4, 6, 3, bottleneck=True)
    for count, millions in zip(networks, printed):
        assert f"{count:,}" in ITEMS[12]
        assert rounds_to(Fraction(count, 10**6), millions)
    assert f"{inception_v3(2):,}" in ITEMS[12]


def test_no_resnet_has_the_parameters_that_table_7_gives_for_wang():
    others = [resnet(3, 4, 6, 3, bottleneck=False), resnet(3, 4, 23, 3, bottleneck=True), resnet(3, 8, 36, 3, bottleneck=True)]
    stated = re.search(r"have ([\d.]+), ([\d.]+) and ([\d.]+) million", ITEMS[12]).groups()
    assert all(rounds_to(Fraction(count, 10**6), millions) for count, millions in zip(others, stated))
    for count in (*others, resnet(2, 2, 2, 2, bottleneck=False), resnet(3, 4, 6, 3, bottleneck=True)):
        assert not rounds_to(Fraction(count, 10**6), table(7)["Wang"]["parameters (M)"])


# 13: the journal version

def test_85_03_percent_is_impossible_on_every_test_set():
    printed = re.search(r"accuracy of ([\d.]+) %", ITEMS[13])[1]
    totals = [int(n) for n in re.findall(r"\d+", re.search(r"impossible on (.*?) slices", ITEMS[13])[1])]
    tables = {sum(size(number, test_set)) for number, test_set in ((1, "Test-1"), (1, "Test-2"), (2, "Test-1"))}
    assert printed == "85.03" and set(totals) == tables | {200, 205, 118 + 95}
    for n in totals:
        assert counts(printed, n, percent=True) == []
        assert all(Fraction(floor(Fraction(10000 * k, n)), 100) != exact(printed) for k in range(n + 1))


# what lightnet reads

def test_the_search_ranges_are_those_of_the_page_and_hold_all_values_of_tables_3_and_4():
    from lightnet.training.search import RANGES
    pattern = r"learning rate (\S+) to (\S+) and L2 (\S+) to (\S+), both .*?, momentum (\S+) to ([\d.]+\d)"
    stated = re.search(pattern, TEXT).groups()
    assert [float(number) for number in stated] == [bound for name in ("lr", "l2", "momentum") for bound in RANGES[name][:2]]
    for name, column in (("lr", "learning rate"), ("momentum", "momentum"), ("l2", "L2")):
        low, high, _ = RANGES[name]
        assert all(low <= float(row[column]) <= high for number in (3, 4) for row in table(number).values())
