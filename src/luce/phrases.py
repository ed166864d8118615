"""The phrases of the page, each in English and in Korean; names and numbers go into their braces."""

from __future__ import annotations

PHRASES: dict[str, tuple[str, str]] = {
    # --- the frame
    "title": ("Model report: {label}", "모델 보고서: {label}"),
    "kicker": ("luce · model report", "luce · 모델 보고서"),
    "heading": ("How well “{label}” is predicted", "‘{label}’ 예측 결과 보고서"),
    "heading.plain": ("How well the model predicts", "모델 예측 결과 보고서"),
    "intro": (
        "The model tells {classes} classes apart by {columns} columns and has learnt from {rows} rows.",
        "이 모델은 {columns}개 열의 값을 보고 {classes}개 클래스를 구분하며, 사례 {rows}건으로 학습했습니다.",
    ),
    "intro.images": (
        "The model tells {classes} classes apart by images and has learnt from {rows} of them.",
        "이 모델은 이미지를 보고 {classes}개 클래스를 구분하며, 이미지 {rows}장으로 학습했습니다.",
    ),
    "skip": ("Skip to the results", "결과로 바로 가기"),
    "contents": ("Contents", "차례"),
    "picker": ("Class", "클래스"),
    "sort": ("Sort by this column", "이 열을 기준으로 정렬"),
    "scroll": (
        "Table; scroll sideways where it is wider than the screen",
        "표: 화면보다 넓으면 옆으로 밀어서 보십시오",
    ),
    "as.table": ("The same as a table", "같은 내용을 표로 보기"),
    "undefined": ("not defined", "정의되지 않음"),
    "infinite": ("infinite", "무한대"),
    "footer": (
        "Made by luce {version}. This page loads nothing from a network and holds every number that it shows.",
        "luce {version}에서 만들었습니다. 이 문서는 네트워크에서 아무것도 불러오지 않으며, 모든 수치를 자체에 담고 "
        "있습니다.",
    ),
    "class": ("Class", "클래스"),
    "rows": ("Rows", "사례 수"),
    "unit.row": ("{n} row", "사례 {n}건"),
    "unit.rows": ("{n} rows", "사례 {n}건"),
    # --- the headline
    "answer": ("The answer in short", "한눈에 보기"),
    "answer.right": (
        "Of 100 new rows, about {right} will be right.",
        "새로운 사례 100건 가운데 약 {right}건을 맞힐 것으로 예상합니다.",
    ),
    "answer.range": ("95 % interval: {low} to {high} of 100", "95 % 신뢰구간: 100건당 {low}–{high}건"),
    "gain.better": (
        "Always answering {class}, the commonest class, would be right {base} times in 100. The model is right "
        "{gain} times more ({low} to {high}), which is more than chance explains.",
        "가장 흔한 클래스인 {class} 하나로만 답하면 100건 중 {base}건이 맞습니다. 이 모델은 그보다 100건당 "
        "{gain}건({low}–{high}건)을 더 맞히며, 이 차이는 우연으로 설명되지 않습니다.",
    ),
    "gain.unsure": (
        "Always answering {class}, the commonest class, would be right {base} times in 100. These rows do not settle "
        "whether the model is right more often: per 100 rows the difference may be anything from {low} to {high}.",
        "가장 흔한 클래스인 {class} 하나로만 답하면 100건 중 {base}건이 맞습니다. 모델이 이보다 더 자주 맞히는지는 "
        "이 자료만으로 확인되지 않습니다. 차이는 100건당 {low}건에서 {high}건까지 모두 가능합니다.",
    ),
    "gain.worse": (
        "Always answering {class}, the commonest class, would be right {base} times in 100. The model is right less "
        "often: the difference is {gain} of 100 ({low} to {high}).",
        "가장 흔한 클래스인 {class} 하나로만 답하면 100건 중 {base}건이 맞습니다. 이 모델은 그보다 덜 맞히며, 차이는 "
        "100건당 {gain}건({low}–{high}건)입니다.",
    ),
    "loss.better": (
        "Its probabilities say more than the shares of the classes alone: log loss {loss} against {base} (less is "
        "better).",
        "확률은 클래스 비율만 알 때보다 더 많은 것을 알려 줍니다. 로그 손실은 {loss}, 비율만 쓸 때는 "
        "{base}입니다(작을수록 좋습니다).",
    ),
    "loss.unsure": (
        "Whether its probabilities say more than the shares of the classes alone is not settled: log loss {loss} "
        "against {base} (less is better).",
        "확률이 클래스 비율만 알 때보다 나은지는 이 자료만으로 확인되지 않습니다. 로그 손실은 {loss}, 비율만 쓸 때는 "
        "{base}입니다(작을수록 좋습니다).",
    ),
    "loss.infinite": (
        "The log loss is infinite: the true class of some row had been given probability 0.",
        "로그 손실이 무한대입니다. 실제 클래스의 확률을 0으로 예측한 사례가 있기 때문입니다.",
    ),
    "sure": (
        "How sure is this? It was measured on {rows}. Of such 95 % intervals, taken from other rows of the same "
        "kind, 95 in 100 hold the true number.",
        "얼마나 확실한가요? {rows}에서 측정한 결과입니다. 같은 성격의 다른 자료로 신뢰구간을 거듭 구하면 100번 중 "
        "95번은 참값이 그 안에 들어갑니다.",
    ),
    "sure.wide": ("Few rows were measured, so the interval is wide.", "측정한 사례가 적어 신뢰구간이 넓습니다."),
    "never": (
        "Not one of the {rows} of class {class} was found. If it must not be missed, train again with {option}: the "
        "probabilities stay as they are, the answers change.",
        "클래스 {class}: {rows} 가운데 하나도 찾아내지 못했습니다. 놓쳐서는 안 되는 클래스라면 {option} 옵션으로 "
        "다시 학습하십시오. 확률은 그대로이고 답만 달라집니다.",
    ),
    "costs": (
        "The answer is not simply the most probable class: mistakes have costs here (given, or found for a wanted "
        "recall), and the answer is the one of least expected cost. Fewer answers may be right, so that the dear "
        "mistakes are fewer. Probabilities are as without costs.",
        "이 모델의 답은 단순히 가장 확률이 높은 클래스가 아닙니다. 오답의 비용(직접 지정했거나 목표 재현율에 맞춰 "
        "정한 값)을 고려하여 예상 비용이 가장 작은 답을 고릅니다. 맞히는 비율은 낮아질 수 있지만 비용이 큰 오답이 "
        "줄어듭니다. 확률은 비용과 관계없이 그대로입니다.",
    ),
    "nothing": ("Nothing was measured.", "측정한 결과가 없습니다."),
    "nothing.more": (
        "No rows were held out, so this page cannot say how often the model is right. Train with {holdout}, or run "
        "{evaluate} on labelled rows that the model has not seen.",
        "따로 떼어 둔 사례가 없어 이 모델이 얼마나 자주 맞히는지 알 수 없습니다. {holdout} 옵션으로 학습하거나, "
        "학습에 쓰지 않은 정답이 있는 자료로 {evaluate} 명령을 실행하십시오.",
    ),
    "hundred.model": ("This model", "이 모델"),
    "hundred.base": ("Always {class}", "항상 {class}"),
    "hundred.of": ("{right} of 100 right", "100건 중 {right}건 정답"),
    "hundred.key": ("full dot: right; ring: wrong", "채운 점: 정답, 빈 점: 오답"),
    "hundred.title": ("Right answers in a hundred", "100건 중 정답의 수"),
    "hundred.desc": (
        "A hundred dots; the full ones are right answers, the rings wrong ones.",
        "점 100개 가운데 채운 점은 정답, 빈 점은 오답입니다.",
    ),
    "reach.key": (
        "Dot: this model, with its 95 % interval. Upright line: always answering {class}.",
        "점: 이 모델과 95 % 신뢰구간. 세로선: 항상 {class} 하나로만 답할 때.",
    ),
    # --- trust
    "trust": ("How far to trust a probability", "확률을 얼마나 믿을 수 있는가"),
    "trust.intro": (
        "A probability is a promise: of 100 rows given 80 %, 80 should be right. The rows are put into groups by the "
        "probability of their most probable class, and what came true is counted.",
        "확률은 약속과 같습니다. 80 %라고 예측한 사례 100건 중에서는 80건이 맞아야 합니다. 가장 확률이 높은 클래스의 "
        "확률에 따라 사례를 묶고, 실제로 맞은 비율을 세었습니다.",
    ),
    "trust.most": (
        "Of {rows} given {from}–{to}, {observed} were right ({low} to {high}).",
        "{from}–{to} 확률로 답한 {rows} 가운데 {observed}가 맞았습니다({low}–{high}).",
    ),
    "trust.fits": (
        "The bar of every group reaches the dashed line: nothing here says that the probabilities mislead.",
        "모든 묶음의 구간이 점선에 닿아 있어, 확률이 실제와 어긋난다는 증거는 보이지 않습니다.",
    ),
    "trust.too sure": (
        "Too sure: given {from}–{to}, {probability} on average, but {observed} were right.",
        "지나치게 확신함: {from}–{to} 묶음에서 평균 {probability}라고 했으나 실제로는 {observed}가 맞았습니다.",
    ),
    "trust.too unsure": (
        "Too unsure: given {from}–{to}, {probability} on average, but {observed} were right.",
        "지나치게 조심함: {from}–{to} 묶음에서 평균 {probability}라고 했으나 실제로는 {observed}가 맞았습니다.",
    ),
    "trust.chance": (
        "Of bars like these, one in twenty misses the line by chance.",
        "이런 구간은 스무 번에 한 번꼴로 우연히 점선을 벗어납니다.",
    ),
    "trust.caption": (
        "Points: how often it came true, with the 95 % interval. Dashed line: probabilities that keep their promise. "
        "A diamond misses the line. Below: the rows of each group.",
        "점: 실제로 맞은 비율과 95 % 신뢰구간. 점선: 약속이 정확히 지켜지는 경우. 마름모: 점선을 벗어난 묶음. 아래 "
        "막대: 묶음별 사례 수.",
    ),
    "trust.title": ("Reliability diagram", "신뢰도 그림"),
    "trust.title.class": ("Reliability diagram of class {class}", "클래스 {class}의 신뢰도 그림"),
    "trust.desc": (
        "For each group of rows the share that came true against the probability that was given; the table below has "
        "the numbers.",
        "묶음마다 예측한 확률과 실제로 맞은 비율을 견주었습니다. 수치는 아래 표에 있습니다.",
    ),
    "trust.x": ("probability given, %", "예측한 확률, %"),
    "trust.y": ("came true, %", "실제 비율, %"),
    "trust.classes": ("The probability of one class", "클래스별 확률"),
    "trust.classes.intro": (
        "Here the rows are put into groups by the probability of one class, and what came true is that class.",
        "한 클래스의 확률에 따라 사례를 묶고, 실제로 그 클래스였던 비율을 세었습니다.",
    ),
    "shown.worst": (
        "Shown: the classes that are told apart worst.",
        "구분이 가장 어려운 클래스부터 일부만 보여 줍니다.",
    ),
    "bin.given": ("Given", "예측한 확률"),
    "bin.mean": ("On average", "평균"),
    "bin.true": ("Came true", "실제 비율"),
    "bin.verdict": ("Verdict", "판정"),
    "verdict.fits": ("fits", "맞음"),
    "verdict.too sure": ("◆ too sure", "◆ 지나치게 확신"),
    "verdict.too unsure": ("◆ too unsure", "◆ 지나치게 조심"),
    # --- classes
    "classes": ("Each class", "클래스별 성적"),
    "classes.intro": (
        "Precision: of the rows answered so, the share that is so. Recall: of the rows that are so, the share that "
        "was found. F1: both in one number. The small numbers are 95 % intervals.",
        "정밀도: 그 클래스라고 답한 사례 중 실제로 그러한 비율. 재현율: 실제로 그 클래스인 사례 중 찾아낸 비율. F1: "
        "둘을 합친 점수. 작은 숫자는 95 % 신뢰구간입니다.",
    ),
    "classes.caption": ("Scores of each class", "클래스별 점수"),
    "few": ("few rows", "사례 적음"),
    "few.note": (
        "A class marked {flag} has fewer than 30 rows here: look at its intervals, not at its scores.",
        "{flag} 표시가 있는 클래스는 사례가 30건 미만입니다. 점수보다 신뢰구간을 보십시오.",
    ),
    "precision": ("Precision", "정밀도"),
    "recall": ("Recall", "재현율"),
    "f1": ("F1", "F1"),
    # --- confusions
    "confusion": ("Which classes are taken for which", "어떤 클래스를 혼동하는가"),
    "confusion.intro": (
        "A line is a true class, a column an answer: right answers lie on the diagonal. The shade is the share of "
        "the true class.",
        "행은 실제 클래스, 열은 모델의 답입니다. 대각선이 정답이며, 색이 짙을수록 그 클래스에서 차지하는 비율이 "
        "큽니다.",
    ),
    "confusion.caption": ("Confusion matrix, in rows", "혼동 행렬(사례 수)"),
    "confusion.corner": ("true ↓ answer →", "실제 ↓ 답 →"),
    "confusion.most": ("The most frequent mistakes", "가장 잦은 오답"),
    "confusion.none": ("No row was taken for another class.", "다른 클래스로 잘못 답한 사례가 없습니다."),
    "confusion.true": ("Is", "실제"),
    "confusion.answer": ("Was taken for", "모델의 답"),
    "confusion.share": ("Of its class", "클래스 내 비율"),
    "confusion.worst": ("The worst classes by F1", "F1이 가장 낮은 클래스"),
    # --- curves
    "curves": ("Telling a class from the rest", "한 클래스를 나머지와 구분하는 능력"),
    "curves.intro": (
        "Whoever wants to find more rows of a class accepts more false alarms; the curves show every such choice. "
        "The area under the ROC curve is the chance that a row of the class gets a higher probability than another "
        "row: 0.5 is guessing, 1 is perfect. Average precision sums up the second curve; guessing gives the share of "
        "the class.",
        "한 클래스를 더 많이 찾으려면 헛경보도 늘어납니다. 곡선은 그 모든 선택을 보여 줍니다. ROC 곡선 아래 면적은 "
        "그 클래스의 사례가 다른 사례보다 높은 확률을 받을 가능성으로, 0.5는 추측, 1은 완벽한 구분을 뜻합니다. 평균 "
        "정밀도는 두 번째 곡선을 요약한 값이며, 추측만 하면 그 클래스의 비율과 같습니다.",
    ),
    "curves.caption": ("Areas with their 95 % intervals", "곡선 아래 면적과 95 % 신뢰구간"),
    "curves.none": (
        "No class has rows both of its own and of others, so there is no curve.",
        "한 클래스와 나머지 클래스의 사례가 함께 있지 않아 곡선을 그릴 수 없습니다.",
    ),
    "roc.title": ("ROC curve of class {class}", "클래스 {class}의 ROC 곡선"),
    "roc.desc": (
        "The share of the class that is found against the share of other rows called so; nearer to the upper left is "
        "better.",
        "찾아낸 비율과 헛경보 비율의 관계입니다. 왼쪽 위에 가까울수록 좋습니다.",
    ),
    "roc.x": ("false alarms, % of other rows", "헛경보, 다른 사례의 %"),
    "roc.y": ("found, % of the class", "찾아낸 비율, %"),
    "roc.caption": ("ROC curve. Dashed: guessing.", "ROC 곡선. 점선: 추측."),
    "pr.title": ("Precision-recall curve of class {class}", "클래스 {class}의 정밀도-재현율 곡선"),
    "pr.desc": (
        "Precision against recall; nearer to the upper right is better.",
        "재현율에 따른 정밀도입니다. 오른쪽 위에 가까울수록 좋습니다.",
    ),
    "pr.x": ("recall, %", "재현율, %"),
    "pr.y": ("precision, %", "정밀도, %"),
    "pr.caption": ("Precision and recall. Dashed: guessing.", "정밀도와 재현율. 점선: 추측."),
    "roc_auc": ("Area under ROC", "ROC 면적"),
    "average_precision": ("Average precision", "평균 정밀도"),
    # --- metrics
    "metrics": ("All measures", "모든 지표"),
    "metrics.intro": (
        "Each number with its 95 % interval, and how the interval is made.",
        "각 수치의 95 % 신뢰구간과 그 계산 방법입니다.",
    ),
    "metrics.caption": ("Measures with their 95 % intervals", "지표와 95 % 신뢰구간"),
    "metrics.name": ("Measure", "지표"),
    "metrics.value": ("Value", "값"),
    "metrics.interval": ("95 % interval", "95 % 신뢰구간"),
    "metrics.how": ("How: {how}", "계산 방법: {how}"),
    "metrics.no interval": ("no interval", "신뢰구간 없음"),
    "m.accuracy": ("Accuracy", "정확도"),
    "m.accuracy.is": ("share of right answers", "맞힌 비율"),
    "m.balanced_accuracy": ("Balanced accuracy", "균형 정확도"),
    "m.balanced_accuracy.is": ("mean recall of the classes that occur", "나타난 클래스들의 재현율 평균"),
    "m.precision_macro": ("Precision, macro", "정밀도(단순 평균)"),
    "m.precision_macro.is": ("mean over the classes", "클래스별 값의 평균"),
    "m.recall_macro": ("Recall, macro", "재현율(단순 평균)"),
    "m.recall_macro.is": ("mean over the classes", "클래스별 값의 평균"),
    "m.f1_macro": ("F1, macro", "F1(단순 평균)"),
    "m.f1_macro.is": ("mean over the classes", "클래스별 값의 평균"),
    "m.precision_weighted": ("Precision, weighted", "정밀도(가중 평균)"),
    "m.precision_weighted.is": ("mean weighted by the rows of each class", "클래스별 사례 수로 가중한 평균"),
    "m.recall_weighted": ("Recall, weighted", "재현율(가중 평균)"),
    "m.recall_weighted.is": ("mean weighted by the rows of each class", "클래스별 사례 수로 가중한 평균"),
    "m.f1_weighted": ("F1, weighted", "F1(가중 평균)"),
    "m.f1_weighted.is": ("mean weighted by the rows of each class", "클래스별 사례 수로 가중한 평균"),
    "m.matthews": ("Matthews' correlation", "매튜스 상관계수"),
    "m.matthews.is": ("of true classes and answers; 0 is guessing, 1 perfect", "실제와 답의 상관, 0은 추측, 1은 완벽"),
    "m.kappa": ("Cohen's kappa", "코헨의 카파"),
    "m.kappa.is": ("agreement beyond chance; 0 is chance, 1 perfect", "우연을 넘는 일치도, 0은 우연, 1은 완벽"),
    "m.log_loss": ("Log loss", "로그 손실"),
    "m.log_loss.is": (
        "surprise at the true class, in nats; less is better",
        "실제 클래스에 대한 놀라움(nat), 작을수록 좋음",
    ),
    "m.brier": ("Brier score", "브라이어 점수"),
    "m.brier.is": (
        "squared error of the probabilities, 0 to 2; less is better",
        "확률의 제곱 오차, 0–2, 작을수록 좋음",
    ),
    "m.ece": ("Calibration error", "보정 오차"),
    "m.ece.is": ("of the most probable class; less is better", "가장 확률이 높은 클래스 기준, 작을수록 좋음"),
    "m.classwise_ece": ("Calibration error, all classes", "보정 오차(모든 클래스)"),
    "m.classwise_ece.is": (
        "of the probabilities of every class; less is better",
        "모든 클래스의 확률 기준, 작을수록 좋음",
    ),
    # --- how intervals are made
    "how.exact": ("exact binomial (Clopper-Pearson)", "정확 이항 구간(Clopper-Pearson)"),
    "how.no_rows": ("no rows: nothing is known", "사례가 없어 알 수 없음"),
    "how.grouped": (
        "normal, from the sums of rows that belong together",
        "정규 근사, 함께 속하는 행들의 합에서",
    ),
    "how.worth": (
        "exact binomial, for as many rows as those that belong together are worth",
        "정확한 이항 구간, 함께 속하는 행들이 실제로 가지는 값만큼의 행 수로",
    ),
    "how.foreseen": (
        "normal, from the errors that the probabilities foresee: the rows show less",
        "정규 근사, 확률이 예고하는 오차에서(사례들이 보이는 것보다 큼)",
    ),
    "how.normal": ("normal, from the standard error of the mean", "정규 근사, 평균의 표준오차"),
    "how.one_a_bin": (
        "too few rows: no two have probabilities that are alike",
        "사례가 너무 적음: 확률이 비슷한 사례가 둘도 없음",
    ),
    "how.one_row": ("one row: nothing is known", "사례가 하나뿐이라 알 수 없음"),
    "how.infinite": (
        "a row has an infinite loss, so the mean is infinite",
        "손실이 무한대인 사례가 있어 평균도 무한대",
    ),
    "how.bootstrap": ("bootstrap: 2,000 confusion matrices drawn anew", "부트스트랩: 혼동 행렬을 2,000번 다시 추출"),
    "how.degenerate": (
        "bootstrap, all draws alike: too narrow, trust the exact intervals of precision and recall",
        "부트스트랩 결과가 모두 같아 지나치게 좁음. 정밀도와 재현율의 정확 구간을 보십시오",
    ),
    "how.delong": ("DeLong's standard error, on the logit scale", "DeLong 표준오차, 로짓 척도"),
    "how.pairs": ("exact binomial of disjoint pairs of rows", "서로 겹치지 않는 사례 쌍의 정확 이항 구간"),
    "how.boyd": ("binomial standard error on the logit scale (Boyd et al.)", "로짓 척도의 이항 표준오차(Boyd 등)"),
    "how.matched": ("matched shares (Agresti-Min)", "대응 비율의 차(Agresti-Min)"),
    "how.bins": (
        "normal for the squared error, binomial errors of 15 groups",
        "제곱 오차의 정규 근사, 15개 묶음의 이항 오차",
    ),
    # --- what the model looks at
    "looks": ("What the model looks at", "모델이 주로 보는 것"),
    "looks.intro": (
        "How much each column moves the model's answers, as a share of all columns together. It tells what the model "
        "uses, not what causes what.",
        "각 열이 모델의 답을 얼마나 움직이는지를 전체에 대한 비율로 나타냈습니다. 모델이 무엇을 쓰는지를 보여 줄 뿐, "
        "원인을 뜻하지는 않습니다.",
    ),
    "looks.none": ("The weights of the columns are not at hand.", "열별 비중을 알 수 없습니다."),
    "looks.caption": ("The strongest columns", "영향이 큰 열"),
    "looks.column": ("Column", "열"),
    "looks.weight": ("Weight", "비중"),
    "looks.by_class": ("Moves most, in logits", "크게 움직이는 클래스(로짓)"),
    "looks.more": ("Columns not listed: {n}", "목록에 없는 열: {n}개"),
    "looks.numbers": ("Numbers", "숫자 열"),
    "looks.numbers.two": (
        "Above the zero line a value speaks for class {class}, below it against; the height is what it adds to the "
        "logit, compared with an average training row.",
        "0보다 위이면 클래스 {class} 쪽으로, 아래이면 반대쪽으로 기웁니다. 높이는 평균적인 학습 사례와 비교해 로짓에 "
        "더해지는 값입니다.",
    ),
    "looks.numbers.many": (
        "Above the zero line a value speaks for a class, below it against; the height is what it adds to the logit "
        "of the class, compared with an average training row.",
        "0보다 위이면 그 클래스 쪽으로, 아래이면 반대쪽으로 기웁니다. 높이는 평균적인 학습 사례와 비교해 그 클래스의 "
        "로짓에 더해지는 값입니다.",
    ),
    "looks.curve": ("What {column} adds", "{column} 값의 영향"),
    "looks.curve.desc": (
        "What each value of the column adds to the logit; the range is in the caption.",
        "열의 값에 따라 로짓에 더해지는 값입니다. 범위는 설명에 있습니다.",
    ),
    "looks.curve.range": ("adds between {least} and {most}", "더해지는 값: {least}에서 {most}까지"),
    "looks.adds": ("adds to the logit", "로짓에 더해지는 값"),
    "looks.others": ("Other classes", "다른 클래스"),
    "looks.levels": ("Categories", "범주 열"),
    "looks.level": ("Value", "값"),
    "looks.levels.more": ("Values not listed, as they add less: {n}", "영향이 더 작아 생략한 값: {n}개"),
    "looks.pairs": ("Columns that act together", "함께 작용하는 열"),
    "looks.pair": ("{first} with {second}", "{first} × {second}"),
    "looks.pair.for": (
        "for class {class}: adds between {least} and {most}",
        "클래스 {class}: 더해지는 값 {least}에서 {most}까지",
    ),
    "looks.pair.desc": (
        "A cell with a plus speaks for the class, one with a minus against it, beyond what the two columns do alone.",
        "+ 칸은 그 클래스 쪽으로, − 칸은 반대쪽으로 기웁니다. 두 열이 따로 미치는 영향은 뺀 값입니다.",
    ),
    # --- texts
    "texts": ("How it reads texts", "글을 어떻게 읽는가"),
    "texts.intro": (
        "Some rows of the data, the surest answers first, with the words that move it most. Long texts are cut.",
        "자료의 사례 가운데 가장 확신한 답부터 몇 건을 골라, 답을 크게 움직인 낱말을 표시했습니다. 긴 글은 일부만 "
        "보여 줍니다.",
    ),
    "texts.key": (
        "{for} {against} The deeper the shade, the more a word does.",
        "{for} {against} 색이 짙을수록 영향이 큰 낱말입니다.",
    ),
    "texts.for": ("for the answer", "답 쪽으로 기우는 낱말"),
    "texts.against": ("for the other class", "다른 클래스 쪽으로 기우는 낱말"),
    "texts.held": (
        "Answers and probabilities are of fits that did not see the row; the words are weighed by the saved model.",
        "답과 확률은 그 사례를 학습에 쓰지 않은 모델의 것이고, 낱말의 영향은 저장한 모델의 것입니다.",
    ),
    "texts.given": (
        "Answers, probabilities and words are those of the saved model on the rows given.",
        "답과 확률, 낱말의 영향은 모두 주어진 사례에 대한 저장된 모델의 것입니다.",
    ),
    "texts.right": ("Answered right", "맞힌 사례"),
    "texts.wrong": ("Answered wrong", "틀린 사례"),
    "texts.was right": ("{answer}, given {p}; set against {other}", "{answer} (확률 {p}), 비교한 클래스: {other}"),
    "texts.was wrong": ("Answered {answer}, given {p}; it is {other}", "{answer}라고 답함(확률 {p}), 실제: {other}"),
    "texts.row": ("row {row}", "{row}행"),
    # --- images
    "images": ("How it reads images", "이미지를 어떻게 읽는가"),
    "images.intro": (
        "A mistake that the model was sure of is often a wrong label or a picture of something else: look at these "
        "first.",
        "확신했는데 틀린 답은 정답 표시가 잘못되었거나 엉뚱한 사진인 경우가 많습니다. 이런 사례부터 확인하십시오.",
    ),
    "images.held": (
        "Answers and probabilities are of fits that did not see the image; the cells further below are of the saved "
        "model.",
        "답과 확률은 그 이미지를 학습에 쓰지 않은 모델의 것이고, 아래의 칸별 영향은 저장한 모델의 것입니다.",
    ),
    "images.given": (
        "Answers, probabilities and cells are those of the saved model on the rows given.",
        "답과 확률, 칸별 영향은 모두 주어진 사례에 대한 저장된 모델의 것입니다.",
    ),
    "images.wrong": ("The surest mistakes", "가장 확신한 오답"),
    "images.no mistakes": ("All of {rows} were answered right.", "{rows} 모두 맞혔습니다."),
    "images.all": (
        "Wrong: {n} of {rows}. The surest come first.",
        "{rows} 가운데 {n}건이 틀렸습니다. 확신한 순서입니다.",
    ),
    "images.surest": (
        "Wrong: {n} of {rows}. The surest of them are shown.",
        "{rows} 가운데 {n}건이 틀렸습니다. 그중 가장 확신한 사례를 보여 줍니다.",
    ),
    "images.true": ("true: {true}", "실제: {true}"),
    "images.said": ("said: {answer}, {p}", "답: {answer}, {p}"),
    "images.right": ("Right answers of each class", "클래스별 정답"),
    "images.right.intro": (
        "For each class the image that was answered with most certainty, and the one answered with least.",
        "클래스마다 가장 확신하고 맞힌 이미지와 가장 망설이며 맞힌 이미지입니다.",
    ),
    "images.sure": ("{answer}, sure: {p}", "{answer}, 확신: {p}"),
    "images.unsure": ("{answer}, unsure: {p}", "{answer}, 망설임: {p}"),
    "images.alt.wrong": ("Image of class {true}, answered {answer}", "클래스 {true}의 이미지, {answer}라고 답함"),
    "images.alt.right": ("Image of class {true}, answered right", "클래스 {true}의 이미지, 맞힘"),
    "images.speaks": ("What speaks for a class", "클래스별로 무엇을 보는가"),
    "images.speaks.intro": (
        "Left: the mean image of the class. Right: what each part of an image of the class does for it. The part is "
        "covered with the colour of the image's border, and how far the logit of the class falls is counted. The "
        "deeper the shade, the more it does; the shades of each class are its own.",
        "왼쪽은 그 클래스 이미지들의 평균입니다. 오른쪽은 이미지의 각 부분이 하는 일입니다. 한 칸을 이미지 가장자리 "
        "색으로 가렸을 때 클래스의 로짓이 얼마나 낮아지는지를 나타냅니다. 색이 짙을수록 영향이 크며, 짙기의 기준은 "
        "클래스마다 다릅니다.",
    ),
    "images.for": (
        "plus: what is seen here speaks for the class",
        "더하기: 이곳에 보이는 것이 그 클래스 쪽으로 기웁니다",
    ),
    "images.against": ("minus: it speaks against the class", "빼기: 다른 클래스 쪽으로 기웁니다"),
    "images.mean": ("Mean image of class {class}", "클래스 {class}의 평균 이미지"),
    "images.heat": ("What speaks for class {class}, by place", "클래스 {class}: 칸별 영향"),
    "images.heat.desc": (
        "The mean image under a grid of cells, marked + where they speak for class {class} and − where against.",
        "평균 이미지 위의 칸에 클래스 {class} 쪽이면 +, 반대쪽이면 − 표시를 했습니다.",
    ),
    "images.range": (
        "a cell adds {least} to {most}; mean of images: {covered}",
        "한 칸: {least}에서 {most}까지(이미지 {covered}장 평균)",
    ),
    "images.filters": ("The patterns that it looks for", "찾는 무늬"),
    "images.filters.intro": (
        "Each place of an image is compared with these small patterns, which were learnt from the images alone, not "
        "from their classes; how much of each is found in which part of the image is all that the model sees. Light "
        "and dark may change places.",
        "이미지의 모든 자리를 이 작은 무늬들과 비교합니다. 무늬는 정답 없이 이미지들에서만 배운 것입니다. 어느 부분에 "
        "어떤 무늬가 얼마나 있는지가 모델이 보는 전부입니다. 밝고 어두움은 서로 바뀔 수 있습니다.",
    ),
    "images.filters.of": ("{count} patterns of {side} × {side} pixels", "{side} × {side} 화소의 무늬 {count}개"),
    "images.more": ("Classes not shown here: {n}", "여기에 나오지 않은 클래스: {n}개"),
    # --- findings
    "findings": ("What to check in the data", "자료에서 확인할 점"),
    "findings.not asked": (
        "The data were not examined for this report.",
        "이 보고서에서는 자료를 따로 점검하지 않았습니다.",
    ),
    "findings.none": ("Nothing that needs a look was found.", "따로 확인이 필요한 점은 발견되지 않았습니다."),
    "findings.intro": (
        "These are hints, not verdicts: look at each row before anything is changed.",
        "다음은 단정이 아니라 확인을 권하는 내용입니다. 고치기 전에 각 사례를 직접 살펴보십시오.",
    ),
    "findings.rest": ("The rest of the list", "나머지 목록"),
    "findings.more": ("Only the first 50 rows are shown.", "처음 50행만 보여 줍니다."),
    "weight.fault": ("to be mended", "수정 필요"),
    "weight.ask": ("to be checked", "확인 필요"),
    "weight.fact": ("to know", "참고"),
    "finding.leaks": ("Columns that give the label away", "정답을 미리 알려 주는 열"),
    "finding.mislabelled": ("Labels that are likely wrong", "정답이 잘못 붙은 것으로 의심되는 사례"),
    "finding.contradictions": ("Equal rows with different labels", "값은 같은데 정답이 다른 사례"),
    "finding.duplicates": ("Rows that occur more than once", "두 번 이상 나오는 사례"),
    "finding.near_duplicates": ("Rows that are nearly equal", "거의 같은 사례"),
    "finding.comparisons": ("Random split against the one asked for", "무작위로 떼어 둔 경우와의 비교"),
    "finding.splits": ("Rows that a random split may not part", "무작위로 나누면 안 되는 사례"),
    "finding.classes": ("Rare classes", "드문 클래스"),
    "finding.separations": (
        "Classes that one column tells apart without a mistake",
        "열 하나로 완전히 갈라지는 클래스",
    ),
    "finding.columns": ("Columns", "열"),
    "finding.notes": ("Notes", "알림"),
    "advice.leaks": (
        "Leave out what is not known before the label is.",
        "정답이 정해지기 전에 알 수 없는 열이라면 학습에서 빼십시오.",
    ),
    "advice.mislabelled": (
        "Look at these rows, the first ones first.",
        "의심이 큰 순서입니다. 위에서부터 직접 확인해, 틀린 정답은 고치거나 빼십시오. 클래스가 겹치는 사례일 수도 "
        "있습니다.",
    ),
    "advice.contradictions": (
        "Settle which label is right.",
        "값이 모두 같은데 정답이 다릅니다. 어느 쪽이 맞는지 확인하거나, 둘을 가르는 열을 더하십시오.",
    ),
    "advice.duplicates": (
        "Drop what was entered twice.",
        "같은 사례가 떼어 둔 쪽과 학습한 쪽에 모두 있으면 성적이 실제보다 좋게 나옵니다. 두 번 입력된 것이라면 "
        "빼십시오.",
    ),
    "advice.near_duplicates": (
        "Check whether these are one row entered twice.",
        "거의 같은 사례입니다. 같은 대상을 두 번 잰 것이라면 --group 옵션으로 묶으십시오.",
    ),
    "advice.comparisons": (
        "Trust the split that fits the use.",
        "실제로 쓸 방식에 맞게 나눈 쪽의 성적을 믿으십시오.",
    ),
    "advice.splits": (
        "Measure with --group or --time.",
        "묶음이나 시간을 나타내는 열로 보입니다. 무작위로 나누면 성적이 실제보다 좋게 나오므로, --group 또는 "
        "--time 옵션으로 다시 측정하십시오.",
    ),
    "advice.classes": (
        "Small classes are hard to learn and to measure.",
        "사례가 적거나 한쪽으로 치우친 클래스입니다. 정확도보다 재현율과 로그 손실을 보십시오.",
    ),
    "advice.separations": (
        "Check that the column is known in time.",
        "열 하나만으로 완전히 갈라집니다. 예측할 때도 알 수 있는 값인지 확인하십시오.",
    ),
    "advice.columns": (
        "Columns that tell nothing.",
        "정보가 없거나 빈칸이 많은 열입니다.",
    ),
    "advice.notes": (
        "Notes on how the data were read.",
        "자료를 읽으며 알게 된 점입니다.",
    ),
    "field.row": ("row", "행"),
    "field.rows": ("rows", "행"),
    "field.given": ("given label", "붙어 있는 정답"),
    "field.suggested": ("more likely", "더 그럴듯한 클래스"),
    "field.p_given": ("its probability", "그 확률"),
    "field.p_suggested": ("its probability", "그 확률"),
    "field.score": ("score", "점수"),
    "field.column": ("column", "열"),
    "field.count": ("count", "개수"),
    "field.labels": ("labels", "정답"),
    "field.class": ("class", "클래스"),
    "field.class_": ("class", "클래스"),
    "field.missing": ("missing", "빈칸"),
    "field.share": ("share", "비율"),
    "field.left_out": ("left out", "제외한 이유"),
    "field.differs": ("differs in", "다른 점"),
    # --- certificate
    "proof": ("The proof of the fit", "학습의 증명"),
    "proof.is": (
        "What the fit makes small (mean cross-entropy in nats with a penalty of strength {l2}) is {objective}, and "
        "this is proven to be at most {gap} above the smallest value there can be. It took {passes} passes over the "
        "data.",
        "학습은 벌점(세기 {l2})을 포함한 평균 교차 엔트로피(nat)를 가장 작게 만드는 과정입니다. 얻은 값은 "
        "{objective}이며, 가능한 최솟값과의 차이가 {gap} 이하임이 증명되었습니다. 자료를 {passes}번 읽었습니다.",
    ),
    "proof.relative": (
        "No other weights can do better by more than one part in {parts}.",
        "다른 어떤 가중치를 쓰더라도 {parts}분의 1 넘게 더 나아질 수는 없습니다.",
    ),
    "proof.none": (
        "No bound on the distance from the best possible fit was proven ({passes} passes over the data, value "
        "{objective}, penalty {l2}).",
        "가능한 최선의 학습 결과와의 거리가 증명되지 않았습니다(자료를 {passes}번 읽음, 값 {objective}, 벌점 세기 "
        "{l2}).",
    ),
    "proof.means": (
        "What this means: among all models of this form there is none that fits the training rows noticeably better, "
        "whatever program looks for it. What it does not mean: that the form suits the question, or that new rows "
        "are like the training rows; only measured rows tell that.",
        "이것이 뜻하는 바: 같은 형태의 모델 가운데 학습 사례에 눈에 띄게 더 잘 맞는 것은 어떤 프로그램으로도 찾을 수 "
        "없습니다. 뜻하지 않는 바: 이 형태가 문제에 알맞다거나 새로운 사례가 학습 사례와 같다는 보장은 아닙니다. "
        "그것은 측정으로만 알 수 있습니다.",
    ),
    "proof.network": (
        "This model is a network: its layers have {units} units, {parameters} weights in all. They were learnt in "
        "{passes} runs over the rows, a tenth of which were held out to tell when to stop.",
        "이 모델은 신경망입니다. 층의 유닛 수는 {units}이고 가중치는 모두 {parameters}개입니다. 사례를 {passes}번 "
        "되풀이해 읽으며 학습했고, 사례의 10분의 1은 언제 멈출지 알기 위해 따로 두었습니다.",
    ),
    "proof.no proof": (
        "For a network there is no proof that no other weights do better: what it loses has many valleys. What counts "
        "is what was measured on rows held out, above.",
        "신경망에는 더 나은 가중치가 없다는 증명이 없습니다. 손실에 골짜기가 여럿이기 때문입니다. 위에 있는, 따로 둔 "
        "사례로 측정한 값이 중요합니다.",
    ),
    "proof.curve": ("The training", "학습 과정"),
    "proof.curve.desc": (
        "The mean loss of each run over the rows, of those that taught and of those held out.",
        "사례를 한 번 읽을 때마다의 평균 손실. 학습한 사례와 따로 둔 사례.",
    ),
    "proof.curve.range": (
        "Mean loss in each run: rows held out lose {first} after the first and {last} after the last",
        "읽을 때마다의 평균 손실. 따로 둔 사례는 처음에 {first}, 마지막에 {last}",
    ),
    "proof.epoch": ("run over the rows", "읽은 횟수"),
    "proof.loss": ("loss in nats", "손실(nat)"),
    "proof.taught": ("rows that taught", "학습한 사례"),
    "proof.held_out": ("rows held out", "따로 둔 사례"),
    # --- calibration
    "calibration": ("Calibration", "확률 보정"),
    "calibration.unknown": (
        "Not tried: too few rows could be held out of some class.",
        "시도하지 않음: 떼어 둘 사례가 부족한 클래스가 있습니다.",
    ),
    "calibration.none": (
        "No correction was needed: none lowers the log loss of {before} beyond its noise, on {rows} held out.",
        "보정이 필요하지 않았습니다. 따로 떼어 둔 {rows}에서 로그 손실 {before}보다 뚜렷이 나아지는 보정이 없었습니다.",
    ),
    "calibration.temperature": (
        "Probabilities are corrected by one factor on all logits (temperature scaling): log loss {before} → {after} "
        "on {rows} held out.",
        "모든 로짓에 하나의 계수를 곱해 확률을 보정했습니다(온도 보정). 따로 떼어 둔 {rows}에서 로그 손실 {before} → "
        "{after}.",
    ),
    "calibration.vector": (
        "Probabilities are corrected by a factor and a shift for each class (vector scaling): log loss {before} → "
        "{after} on {rows} held out.",
        "클래스마다 계수와 이동값을 두어 확률을 보정했습니다(벡터 보정). 따로 떼어 둔 {rows}에서 로그 손실 {before} "
        "→ {after}.",
    ),
    "calibration.matrix": (
        "Probabilities are corrected by a map of all logits (matrix scaling): log loss {before} → {after} on {rows} "
        "held out.",
        "모든 로짓을 함께 고려해 확률을 보정했습니다(행렬 보정). 따로 떼어 둔 {rows}에서 로그 손실 {before} → {after}.",
    ),
    # --- sets
    "sets": ("Sets with a promise", "정답 포함을 약속하는 답의 묶음"),
    "sets.none": (
        "This model gives no sets: no row of some class could be held out.",
        "이 모델은 답의 묶음을 제공하지 않습니다. 사례를 떼어 둘 수 없는 클래스가 있습니다.",
    ),
    "sets.is": (
        "Where one answer is not sure enough, the model can name a set of classes ({option}). Of the rows of each "
        "class, at least {coverage} then have their class in the set, as long as new rows are drawn like the "
        "training rows. This rests on {rows}.",
        "하나의 답으로 충분하지 않을 때 가능한 클래스의 묶음을 제시할 수 있습니다({option}). 새로운 사례가 학습 "
        "사례와 같은 방식으로 얻어진다면, 클래스마다 적어도 {coverage}의 사례에서 실제 클래스가 묶음에 들어 "
        "있습니다. 근거: {rows}.",
    ),
    "sets.all": (
        "Every class has the {least} rows that this promise needs.",
        "모든 클래스가 이 약속에 필요한 {least}건 이상의 사례를 갖추고 있습니다.",
    ),
    "sets.few": (
        "These classes have fewer than the {least} rows that the promise needs, and are therefore in every set:",
        "다음 클래스는 약속에 필요한 {least}건보다 사례가 적어 모든 묶음에 포함됩니다:",
    ),
    # --- schema
    "schema": ("The columns", "자료의 열"),
    "schema.intro": (
        "Used: {used} columns; left out: {left}. A missing cell is not guessed: it has a weight of its own.",
        "사용한 열 {used}개, 제외한 열 {left}개. 빈칸은 추측해 채우지 않고 별도의 가중치로 다룹니다.",
    ),
    "schema.intro.images": (
        "Used: {used} columns; left out: {left}. A row without its image gets no answer.",
        "사용한 열 {used}개, 제외한 열 {left}개. 이미지가 없는 사례에는 답하지 않습니다.",
    ),
    "schema.caption": ("Columns, what they are, and their missing cells", "열의 종류와 빈칸"),
    "schema.column": ("Column", "열"),
    "schema.kind": ("Kind", "종류"),
    "schema.missing": ("Missing", "빈칸"),
    "schema.all": ("All columns", "모든 열"),
    "kind.number": ("number", "숫자"),
    "kind.boolean": ("yes/no", "예/아니요"),
    "kind.date": ("date", "날짜"),
    "kind.category": ("category", "범주"),
    "kind.text": ("text", "텍스트"),
    "kind.image": ("image", "이미지"),
    "kind.embedding": ("embedding", "임베딩"),
    "kind.pair": ("pair", "열의 쌍"),
    "kind.left out": ("left out", "제외"),
    "why.identifier": ("identifier", "식별자로 보임"),
    "why.free text": ("free text", "자유 서술문"),
    "why.constant": ("constant", "값이 모두 같음"),
    "why.all cells": ("all cells are missing", "모두 빈칸"),
    "why.left out": ("left out as asked", "요청에 따라 제외"),
    "level.missing": ("missing", "빈칸"),
    "level.true": ("yes", "예"),
    "level.false": ("no", "아니요"),
    # --- how it was measured
    "how": ("How it was measured", "측정 방법"),
    "how.train": ("Rows that the model was fitted on", "학습에 쓴 사례"),
    "how.held": ("Rows held out and measured", "떼어 두고 측정한 사례"),
    "how.given": ("Rows measured", "측정한 사례"),
    "how.share": ("Share held out of each class", "클래스마다 떼어 둔 비율"),
    "how.seed": ("Seed of the choice", "선택에 쓴 시드"),
    "how.source": ("Data", "자료"),
    "how.held.text": (
        "A part of the rows of each class, chosen by a hash of the seed and the row's number, was kept away from the "
        "fit; a model fitted on the others answered them, and these answers were counted. The model that was saved "
        "is then fitted on all rows in the same way. Strength of penalty and calibration were chosen inside the rows "
        "fitted on.",
        "클래스마다 일부 사례를 시드와 행 번호의 해시로 골라 학습에서 제외하고, 나머지로 학습한 모델이 이 사례에 "
        "답한 결과를 세었습니다. 저장한 모델은 같은 방법으로 모든 사례에 다시 학습한 것입니다. 벌점의 세기와 보정은 "
        "학습에 쓴 사례 안에서만 정했습니다.",
    ),
    "how.by": ("Held out by", "나눈 기준"),
    "how.group": ("groups of the column {column}", "{column} 열의 묶음"),
    "how.time": ("time, by the column {column}", "{column} 열의 시간"),
    "how.group.text": (
        "Whole groups of rows were kept away from the fit, so that none is on both sides; a model fitted on the other "
        "groups answered them, and these answers were counted. The model that was saved is then fitted on all rows in "
        "the same way. Strength of penalty and calibration were chosen inside the rows fitted on, by groups as well.",
        "묶음 단위로 일부 사례를 학습에서 제외하여 한 묶음이 양쪽에 나뉘지 않게 하고, 나머지 묶음으로 학습한 모델이 이 "
        "사례에 답한 결과를 세었습니다. 저장한 모델은 같은 방법으로 모든 사례에 다시 학습한 것입니다. 벌점의 세기와 "
        "보정도 학습에 쓴 사례 안에서 묶음 단위로 정했습니다.",
    ),
    "how.time.text": (
        "The latest rows were kept away from the fit; a model fitted on the earlier ones answered them, and these "
        "answers were counted. The model that was saved is then fitted on all rows in the same way. Strength of "
        "penalty and calibration were chosen inside the rows fitted on, without regard to time.",
        "가장 최근 사례를 학습에서 제외하고, 그 이전 사례로 학습한 모델이 답한 결과를 세었습니다. 저장한 모델은 같은 "
        "방법으로 모든 사례에 다시 학습한 것입니다. 벌점의 세기와 보정은 학습에 쓴 사례 안에서 시간과 관계없이 "
        "정했습니다.",
    ),
    "how.given.text": (
        "The saved model answered the rows of the file. If it was trained on some of them, these numbers flatter it.",
        "저장한 모델이 파일의 사례에 답한 결과입니다. 이 가운데 학습에 쓴 사례가 있다면 실제보다 좋게 나옵니다.",
    ),
    "how.nothing.text": (
        "No rows were held out and none were given: nothing was measured.",
        "떼어 둔 사례도 주어진 사례도 없어 측정하지 않았습니다.",
    ),
    # --- card
    "card": ("Model card", "모델 카드"),
    "card.task": ("Task", "과제"),
    "card.task.is": ("tell the class of a row: {label}", "사례의 클래스 판별: {label}"),
    "card.task.plain": ("tell the class of a row", "사례의 클래스 판별"),
    "card.classes": ("Classes in training", "학습 자료의 클래스"),
    "card.share": ("Share", "비율"),
    "card.other shares": (
        "The shares are those of the population that the model was adjusted to.",
        "비율은 모델을 맞춘 대상 집단의 비율입니다.",
    ),
    "card.form": ("Form", "형태"),
    "card.form.is": (
        "softmax of logits that are sums over {features} features made from the columns",
        "열에서 만든 특성 {features}개의 합으로 로짓을 구해 소프트맥스로 확률을 계산",
    ),
    "card.limits": ("Limits", "한계"),
    "card.small": (
        "Classes with fewer than 30 training rows, of which little could be learnt: {classes}",
        "학습 사례가 30건 미만이어서 배울 것이 적었던 클래스: {classes}",
    ),
    "card.unseen": (
        "Categories that were rare or unseen in training share one weight: the model knows nothing else of them.",
        "학습에서 드물거나 없던 범주는 하나의 가중치를 함께 씁니다. 모델은 그 밖의 것을 알지 못합니다.",
    ),
    "card.noise": (
        "Labels are taken as true: wrong ones are learnt, and lower the measured scores.",
        "정답은 옳다고 간주합니다. 잘못된 정답도 그대로 학습되며 측정된 성적을 낮춥니다.",
    ),
    "card.drift": (
        "The numbers hold for rows drawn like those measured; other devices, places or years may differ.",
        "이 수치는 측정한 사례와 같은 방식으로 얻은 사례에 한합니다. 장비, 기관, 시기가 다르면 달라질 수 있습니다.",
    ),
    "card.cause": (
        "The model finds what goes together, not what causes what; it supports a decision and does not take it.",
        "모델은 함께 나타나는 것을 찾을 뿐 원인을 밝히지 않습니다. 결정을 돕는 것이지 대신하는 것이 아닙니다.",
    ),
    "card.again": ("To get the same numbers again", "같은 수치를 다시 얻으려면"),
    "card.notes": ("Notes on the data", "자료에 관한 알림"),
}
