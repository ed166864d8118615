// All texts of the page, each in English and in Korean; what stands in braces is filled in.

export const TEXTS = {
  "skip": ["Skip to the content", "본문으로 건너뛰기"],
  "views": ["Views", "화면"],
  "view.try": ["Try it", "써 보기"],
  "view.trust": ["Trust", "신뢰도"],
  "view.batch": ["Batch", "여러 건"],
  "view.train": ["Train", "학습"],
  "view.softmax": ["Softmax", "소프트맥스"],
  "language.other": ["한국어", "English"],
  "footer": ["luce {version}. This page loads nothing but what its own service gives it, and works without a network.", "luce {version}. 이 페이지는 자체 서비스가 주는 것만 불러오며, 인터넷 없이도 작동합니다."],
  "model": ["Model", "모델"],
  "reset": ["Start again", "처음으로"],
  "again": ["Try again", "다시 시도"],
  "cancel": ["Stop", "중지"],
  "missing": ["missing", "빈 값"],
  "yes": ["yes", "예"],
  "no": ["no", "아니요"],
  "class": ["Class", "클래스"],
  "rows": ["Rows", "사례 수"],
  "nats": ["nats", "nat"],
  "empty.title": ["No model is loaded", "불러온 모델이 없습니다"],
  "empty.start": ["Start the service with a model: {command}", "모델과 함께 서비스를 시작하십시오: {command}"],
  "empty.softmax": ["Until then there is {link} to play with.", "그동안 {link} 화면을 써 볼 수 있습니다."],
  "empty.train": ["Or {link} one here.", "아니면 여기에서 {link}할 수 있습니다."],
  "error.title": ["This did not work", "처리하지 못했습니다"],
  "error.away": ["The service cannot be reached. Is it still running?", "서비스에 연결할 수 없습니다. 실행 중인지 확인하십시오."],
  "token.title": ["The service asks for its token", "토큰이 필요합니다"],
  "token.why": ["It was printed when the service was started. This tab keeps it until it is closed.", "서비스를 시작할 때 출력된 값입니다. 이 탭을 닫을 때까지만 보관합니다."],
  "token": ["Token", "토큰"],
  "token.send": ["Send", "확인"],
  "softmax.title": ["Softmax, by hand", "손으로 움직여 보는 소프트맥스"],
  "softmax.lead": ["How numbers become probabilities, how a probability is scored, and how a model learns from that score. Move anything.", "숫자가 확률이 되고, 확률에 점수를 매기고, 그 점수로 모델이 배우는 과정입니다. 무엇이든 움직여 보십시오."],
  "softmax.shares": ["From logits to probabilities", "로짓에서 확률로"],
  "softmax.shares.about": ["Each class has a logit, any number at all; its exponential is positive, and divided by the sum of all it is a share. A low temperature T makes the largest logit win outright, a high one makes all alike.", "클래스마다 로짓이라는 임의의 수가 있습니다. 지수 함수를 씌우면 양수가 되고, 전체 합으로 나누면 확률이 됩니다. 온도 T가 낮으면 가장 큰 로짓이 거의 독차지하고, 높으면 모두 비슷해집니다."],
  "softmax.add": ["Add a class", "클래스 추가"],
  "softmax.removed": ["The class was removed.", "클래스를 삭제했습니다."],
  "remove.named": ["Remove {name}", "{name} 삭제"],
  "start.0": ["seal", "물개"],
  "start.1": ["panda", "판다"],
  "start.2": ["duck", "오리"],
  "class.n": ["class {n}", "클래스 {n}"],
  "class.name": ["Name of class {n}", "클래스 {n}의 이름"],
  "temperature": ["Temperature T", "온도 T"],
  "logit": ["Logit z", "로짓 z"],
  "logit.of": ["Logit of {name}", "{name}의 로짓"],
  "logit.value": ["{logit}, share {share}", "{logit}, 확률 {share}"],
  "power": ["exp(z / T)", "exp(z / T)"],
  "share": ["Probability p", "확률 p"],
  "share.of": ["Probability of {name}", "{name}의 확률"],
  "sum": ["Sum of the exponentials:", "지수의 합:"],
  "loss": ["One-hot labels and cross-entropy", "원-핫 라벨과 교차 엔트로피"],
  "loss.about": ["The true class as one-hot numbers y is 1 for itself and 0 for the others; the cross-entropy is minus the logarithm of the probability that the true class was given. Its gradient by the logits over T is simply p − y: a logit with a bar to the right is too large, one with a bar to the left too small.", "실제 클래스를 원-핫으로 나타낸 y는 자기 자신만 1이고 나머지는 0입니다. 교차 엔트로피는 실제 클래스에 준 확률의 로그에 음의 부호를 붙인 값입니다. 로짓을 T로 나눈 값에 대한 기울기는 간단히 p − y입니다. 막대가 오른쪽이면 로짓이 너무 크고, 왼쪽이면 너무 작다는 뜻입니다."],
  "loss.truth": ["True class", "실제 클래스"],
  "loss.is": ["Cross-entropy:", "교차 엔트로피:"],
  "loss.step": ["Take a step downhill", "한 걸음 내려가기"],
  "loss.step.about": ["moves the logits above by −{rate} times the gradient", "위의 로짓을 기울기의 −{rate}배만큼 옮깁니다"],
  "sigmoid": ["Two classes: the sigmoid", "두 클래스: 시그모이드"],
  "sigmoid.about": ["With two classes only the difference of their logits counts, and softmax becomes the sigmoid σ(d) = 1 ÷ (1 + exp(−d)). Far from 0 the curve is flat: there a change of the logits hardly moves the probability.", "클래스가 둘이면 두 로짓의 차이만 중요하며, 소프트맥스는 시그모이드 σ(d) = 1 ÷ (1 + exp(−d))가 됩니다. 0에서 멀어질수록 곡선이 평평해져 로짓이 변해도 확률은 거의 움직이지 않습니다."],
  "sigmoid.title": ["The sigmoid curve", "시그모이드 곡선"],
  "sigmoid.desc": ["The probability of class A against the difference of the logits, with the present point.", "로짓의 차이에 따른 클래스 A의 확률과 현재 위치."],
  "sigmoid.x": ["difference of the logits", "로짓의 차이"],
  "train2d": ["Learning, step by step", "한 걸음씩 배우기"],
  "train2d.about": ["A softmax classifier of the plane begins with weights of 0 and goes downhill on the mean cross-entropy of all points. Straight borders cannot part rings; with squares as further features they can, and the model is as linear as before.", "평면을 나누는 소프트맥스 분류기가 가중치 0에서 출발해 모든 점의 평균 교차 엔트로피가 줄어드는 쪽으로 내려갑니다. 곧은 경계로는 고리를 나눌 수 없지만, 제곱을 특성으로 더하면 선형 모델 그대로도 나눌 수 있습니다."],
  "train2d.plane": ["Plane with the points and the regions of the classes", "점과 클래스 영역이 그려진 평면"],
  "train2d.help": ["Click to add a point of the chosen class. By keyboard: arrow keys move a cross, Enter adds the point.", "누르면 선택한 클래스의 점이 추가됩니다. 키보드로는 화살표 키로 십자를 옮기고 Enter로 점을 찍습니다."],
  "train2d.points": ["Points", "점"],
  "train2d.own": ["my own", "직접 찍은 점"],
  "train2d.apart": ["three clouds apart", "떨어진 세 무리"],
  "train2d.mixed": ["three clouds mixed", "섞인 세 무리"],
  "train2d.rings": ["three rings", "세 겹 고리"],
  "train2d.class": ["Next point", "다음 점"],
  "train2d.squares": ["squares as features: x², xy, y²", "제곱을 특성으로 추가: x², xy, y²"],
  "train2d.rate": ["Learning rate", "학습률"],
  "train2d.speed": ["Steps a picture", "화면당 걸음 수"],
  "train2d.run": ["Run", "실행"],
  "train2d.pause": ["Pause", "일시 정지"],
  "train2d.step": ["One step", "한 걸음"],
  "train2d.reset": ["Weights to 0", "가중치 0으로"],
  "train2d.clear": ["Remove points", "점 지우기"],
  "train2d.steps": ["Steps", "걸음 수"],
  "train2d.loss": ["Mean loss", "평균 손실"],
  "train2d.right": ["Right", "정답률"],
  "train2d.now": ["After {steps} steps the mean loss is {loss}, {right} are right.", "{steps}걸음 뒤 평균 손실 {loss}, 정답률 {right}."],
  "train2d.at": ["{x}, {y}; {points} points", "{x}, {y}; 점 {points}개"],
  "train2d.curve": ["The loss, step by step", "걸음마다의 손실"],
  "train2d.curve.desc": ["The mean cross-entropy against the number of steps.", "걸음 수에 따른 평균 교차 엔트로피."]
};

export const LANGUAGES = ["en", "ko"];
const KEPT = "luce-language";

let chosen = kept() ?? ((navigator.language ?? "").toLowerCase().startsWith("ko") ? "ko" : "en");

function kept() {
  try {
    const found = localStorage.getItem(KEPT);
    return LANGUAGES.includes(found) ? found : null;
  } catch {
    return null; // storage is forbidden: the browser's language counts
  }
}

export const language = () => chosen;

export function choose(next) {
  chosen = next;
  try {
    localStorage.setItem(KEPT, next);
  } catch {
    // storage is forbidden: the choice lasts as long as the page
  }
}

const found = (key) => {
  if (!(key in TEXTS)) throw new Error(`no text is called ${key}`);
  return TEXTS[key][LANGUAGES.indexOf(chosen)];
};

/** A text, plain values in its braces. */
export const t = (key, values = {}) => found(key).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** A text in pieces, elements or plain values in its braces: children for an element. */
export const say = (key, values = {}) =>
  found(key).split(/\{(\w+)\}/).map((piece, k) => (k % 2 ? values[piece] : piece)).filter((piece) => piece !== "");
