"""Words for the chest, other parts, views and children in the languages of hospitals, as descriptions write them.

Words stand as people spell them, a star for any ending. They are compared in upper case and without accents, as whole
words; in scripts that put no spaces between words, or join articles to them, also inside others.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_JOINED = re.compile(r"[\u0590-\u06ff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words of one language, separated by commas.

    Attributes:
        name: of the language.
        chest: the chest, the lungs, and films of them.
        spine: what makes a word for "thoracic" one of the spine.
        other: further parts that are no chest.
        frontal: views from front or back.
        lateral: views from the side, oblique and lateral decubitus ones.
        lying: of a patient who lies on the back, which is a frontal view although words of it may sound like another.
        child: whose film it is.
    """

    name: str
    chest: str
    spine: str
    other: str
    frontal: str = ""
    lateral: str
    lying: str = ""
    child: str

    @cached_property
    def patterns(self) -> dict[str, str]:
        """A pattern of each kind of word."""
        kinds = ("chest", "spine", "other", "frontal", "lateral", "lying", "child")
        return {kind: "|".join(_pattern(word) for word in getattr(self, kind).split(",") if word) for kind in kinds}


def plain(text: str) -> str:
    """Upper case, no accents, anything but letters and digits a space: 'Thorax_p.a.' becomes 'THORAX P A'."""
    decomposed = unicodedata.normalize("NFKD", text.upper())
    unaccented = "".join(char for char in decomposed if not unicodedata.combining(char))
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", unaccented)).strip()


def _pattern(word: str) -> str:
    letters = re.escape(plain(word)).replace(r"\ ", " ")
    if _JOINED.search(letters):
        return letters
    ending = r"\w*" if word.endswith("*") else ""
    return rf"\b{letters}{ending}\b"


LANGUAGES: Final = (
    Language(
        name="English",
        chest="lung*",
        spine="tspine,cspine,lspine,sspine,tlspine",
        other=(
            "head,skull,face,facial,nasal,sinus*,mandible,dental,teeth,tooth,panoram*,eye,orbit,orbits,neck,cervical,"
            "sacr*,coccyx,abd*,kub,bowel,pelvis,pelvic,hip,hips,shoulder,shoulders,clavicle,scapula,humerus,elbow,"
            "forearm,arm,wrist,hand,hands,finger,fingers,thumb,femur,thigh,knee,knees,leg,legs,tibia,fibula,ankle,foot,"
            "feet,toe,toes,heel,calcaneus,patella,extremity,breast,mammo*,rib,ribs,sternum,esophagus,stomach,jaw,brain"
        ),
        frontal="PA,AP,P A,A P,front,frontal*,face,portable,bedside,DV,VD",
        lateral="lat,latera*,LL,RL,llat,rlat,decubitus,LLD,RLD,obl*,LAO,RAO,LPO,RPO",
        lying="dorsal decubitus,supine",
        child="child,children,pediatr*,paediatr*,peds,infant*,neonat*,newborn*,baby,babygram*,toddler*",
    ),
    Language(
        name="Spanish",
        chest="tórax,teletórax,pulmonar*,pulmón,pulmones",
        spine="columna",
        other="mano,rodilla*,cadera*,costilla,costillas,costal,cráneo,hombro,tobillo,muñeca,codo",
        frontal="frente,posteroanterior,anteroposterior",
        lateral="perfil,lateral*,oblicu*,decúbito lateral",
        lying="decúbito supino,decúbito dorsal,decúbito prono,en decúbito,supino",
        child="niño,niña,niños,niñas,infantil*,pediátric*,neonat*,lactante*,recién nacido",
    ),
    Language(
        name="Portuguese",
        chest="tórax,pulmão,pulmões,pulmonar*",
        spine="coluna",
        other="mão,joelho*,quadril,bacia,costelas,crânio,ombro,tornozelo,punho,cotovelo",
        frontal="frente",
        lateral="perfil,oblíqu*",
        lying="decúbito dorsal,decúbito ventral,em decúbito,no leito",
        child="criança*,infantil,pediátric*,neonat*,recém nascido,lactente*",
    ),
    Language(
        name="French",
        chest="thorax,poumon,poumons,pulmonaire*",
        spine="rachis,colonne",
        other="main,genou*,bassin,côtes,costal,crâne,épaule,cheville,poignet,coude,hanche*",
        frontal="face",
        lateral="profil*,oblique*,décubitus latéral",
        lying="décubitus dorsal,décubitus ventral,au lit,couché",
        child="enfant*,nourrisson*,nouveau né,pédiatr*,néonat*,bébé",
    ),
    Language(
        name="Italian",
        chest="torace,polmon*",
        spine="colonna",
        other="mano,ginocchio,anca,bacino,coste,cranio,spalla,caviglia,polso,gomito",
        frontal="frontale,postero anteriore,antero posteriore",
        lateral="laterale,latero laterale,profilo,obliqu*",
        lying="decubito supino,a letto,al letto",
        child="bambin*,neonat*,pediatr*,infantile,lattante",
    ),
    Language(
        name="German",
        chest="thorax*,lunge,lungen*,brust,brustkorb,thx",
        spine="wirbel*,BWS,LWS,HWS",
        other="knie,fuss,hand,schädel,becken,rippen,schulter,hüfte*,NNH,nasenneben*,ellenbogen,sprunggelenk",
        frontal="frontal,liegend a p,am bett",
        lateral="seitl*,seitenaufnahme",
        lying="im liegen,liegend,am bett,bettaufnahme",
        child="kind,kinder*,kindes*,säugling*,neugeboren*,frühgeboren*,pädiatr*",
    ),
    Language(
        name="Dutch",
        chest="thorax,borstkas,longen,longfoto*",
        spine="wervel*",
        other="knie,voet,bekken,ribben,schouder,heup,schedel,pols,enkel,buik",
        frontal="voor achterwaarts",
        lateral="lateraal,zijdelings,dwars",
        lying="liggend,op bed,bedfoto",
        child="kind,kinderen,kinder*,zuigeling*,pasgeboren*,baby",
    ),
    Language(
        name="Swedish",
        chest="lungor,lungröntgen,bröstkorg*",
        spine="ryggrad,kotpelare*,bröstrygg*,ländrygg*",
        other="knä,fot,bäcken,revben,höft*,skalle,handled,fotled,buk",
        frontal="frontal*,rakt",
        lateral="sidobild*,från sidan",
        lying="liggande,sängbild",
        child="barn,spädbarn,nyfödd*",
    ),
    Language(
        name="Norwegian",
        chest="lunger,brystkasse*",
        spine="ryggsøyle*,columna",
        other="kne,fot,bekken,ribben,skulder,hofte*,håndledd,ankel",
        lateral="sidebilde*,fra siden",
        lying="liggende,sengeopptak",
        child="barn,spedbarn,nyfødt*",
    ),
    Language(
        name="Danish",
        chest="lunger,brystkasse",
        spine="rygsøjle*,columna",
        other="knæ,fod,bækken,ribben,skulder,hofte*,håndled,ankel",
        lateral="sideoptagelse*,fra siden",
        lying="liggende,sengeoptagelse",
        child="barn,børn,børne*,spædbarn,nyfødt*",
    ),
    Language(
        name="Finnish",
        chest="rintakehä*,keuhko*,thorax",
        spine="selkäranka*,rintaranka,lanneranka",
        other="polvi*,käsi,jalka,lantio*,kylkiluu*,olkapää*,lonkka*",
        lateral="sivu,sivukuva*",
        lying="makuuasen*",
        child="lapsi,lapsen,lapset,vauva*,vastasyntyn*",
    ),
    Language(
        name="Polish",
        chest="klatk*,KLP,płuc*",
        spine="kręgosłup*,kręg*",
        other="kolan*,ręka,ręki,dłoń,stopa,stopy,miednic*,żebr*,żeber,czaszk*,bark,barku,biodr*",
        lateral="boczn*,skośn*",
        lying="na leżąco,przyłóżkow*",
        child="dziecko,dziecka,dzieci,dziecięc*,noworod*,niemowl*,pediatr*",
    ),
    Language(
        name="Czech",
        chest="hrudník*,plíce,plic,pluc*",
        spine="páteř*",
        other="koleno,kolene,ruka,ruky,noha,pánev,žebr*,lebk*,rameno,kyčel*",
        frontal="zadopřední,předozadní",
        lateral="bočn*,boční*,šikm*",
        lying="vleže,na lůžku",
        child="dítě,dítěte,děti,dětsk*,novoroz*,kojen*,pediatr*",
    ),
    Language(
        name="Hungarian",
        chest="mellkas*,tüdő*",
        spine="gerinc*",
        other="térd*,kéz,lábfej*,medence*,borda,bordák,koponya*,vállízület*,csípő*",
        lateral="oldalirány*,oldalfelvétel*",
        lying="fekve,fekvő*,ágy mellett*",
        child="gyermek*,gyerek*,csecsemő*,újszülött*",
    ),
    Language(
        name="Turkish",
        chest="akciğer*,göğüs*,toraks,AC grafi*",
        spine="omurga*,vertebra*",
        other="diz,el bileği,ayak*,pelvis,kaburga*,omuz,kalça,kafatası",
        frontal="ön arka,arka ön",
        lateral="yan,lateral",
        lying="yatarak,yatak başı",
        child="çocuk*,bebek*,yenidoğan*,pediatri*",
    ),
    Language(
        name="Russian",
        chest="ОГК,лёгки*,легких,флюорограф*",
        spine="позвон*",
        other="брюшн*,грудин*,кист*,колен*,ребер*,ребр*,ребёр*,череп*,стоп*,таз,тазобедр*,плеч*",
        frontal="прям*,передн*",
        lateral="боков*,косой,косая",
        lying="лёжа,в палате,у постели",
        child="ребёнок*,ребёнка,дети,детей,детск*,новорожд*,младен*",
    ),
    Language(
        name="Chinese",
        chest="胸部,胸片,双肺,肺部",
        spine="椎",
        other="膝,腹,手,足,头颅,頭,骨盆,肩,髋,髖,肋,踝,腕,肘,颈,頸",
        frontal="正位,后前位,後前位,前后位,前後位,正",
        lateral="侧位,側位,侧,側,斜位",
        lying="卧位,臥位,床旁,床边,床邊",
        child="儿童,兒童,小儿,小兒,婴儿,嬰兒,新生儿,新生兒,患儿",
    ),
    Language(
        name="Japanese",
        chest="胸部",
        spine="椎",
        other="膝,腹部,手,足,頭部,頭,骨盤,肩,股,肋骨,踝,腕,肘,頸",
        frontal="正面",
        lateral="側面,斜位,デクビタス",
        lying="臥位,ポータブル,仰臥",
        child="小児,乳児,新生児,幼児",
    ),
    Language(
        name="Korean",
        chest="흉부",
        spine="척추,흉추,요추,경추",
        other="복부,무릎,골반,손목,발목,어깨,두개골,늑골,고관절",
        frontal="정면,후전",
        lateral="측면,사위",
        lying="앙와위,이동식,누운",
        child="소아,어린이,신생아,영아,유아",
    ),
    Language(
        name="Arabic",
        chest="صدر,رئة,رئتين",
        spine="العمود الفقري,فقرات",
        other="ركبة,حوض,بطن,جمجمة,كتف,كاحل,معصم,ضلوع",
        frontal="أمامي,امامي",
        lateral="جانبي,مائل",
        lying="استلقاء,مستلق",
        child="طفل,أطفال,رضيع,حديث الولادة",
    ),
    Language(
        name="Vietnamese",
        chest="ngực,phổi",
        spine="cột sống",
        other="khớp gối,đầu gối,bàn tay,bàn chân,khung chậu,bụng,xương sườn,xương sọ,khớp vai",
        frontal="thẳng",
        lateral="nghiêng,chếch",
        lying="tư thế nằm,tại giường",
        child="trẻ em,trẻ sơ sinh,nhi khoa,bệnh nhi",
    ),
)

_BY_KIND: Final = {
    kind: "|".join(language.patterns[kind] for language in LANGUAGES if language.patterns[kind])
    for kind in LANGUAGES[0].patterns
}

CHEST: Final = re.compile(  # words that also stand inside longer ones, and those of languages with no row of their own
    rf"CHEST|TH?ORA(?:X|KS)|CXR|胸(?!腰?椎|骨|鎖|锁)|ทรวงอก|ปอด|سینه|חזה|{_BY_KIND['chest']}|"
    r"\b(?:PULM[AO]\w*|MELLKAS\w*|PLJUC\w*|HRUDNIK\w*|KRUTINES|KRUSKURV\w*|RINDKERE\w*|ЛЕГЕН\w*)\b"
)
CHEST_ADJECTIVE: Final = re.compile(  # these speak of the thoracic spine where a spine is named beside them
    r"\b(?:TH?ORA[CKZ]\w*|PIERSIOW\w*|HRUDN\w*|GRUDN\w*|PRSN\w*|ГРУДН\w*|ГРЪД\w*|ΘΩΡΑΚ\w*)\b"
)
NEAR_CHEST: Final = re.compile(
    r"\b(?:PECHO|HEART|CORAZON|COR|COEUR|CUORE|HERZ|HART|CORACAO|PEITO|PETTO|POITRINE|SERCE|SRDCE|KALP)\b"
)
_SPINE = rf"SPINE|SPINAL|VERTEBR|LUMB|WIRBEL|WERVEL|ПОЗВОН|ΣΠΟΝΔΥΛ|{_BY_KIND['spine']}|\bKRALJEZNIC\w*\b"
SPINE: Final = re.compile(_SPINE)
OTHER: Final = re.compile(rf"{_SPINE}|{_BY_KIND['other']}|[頭头頸颈肩肘腕手腹腰股膝踝足骨]")
FRONTAL: Final = re.compile(_BY_KIND["frontal"])
NOT_FRONTAL: Final = re.compile(rf"{_BY_KIND['lateral']}|\bΠΛΑΓΙ\w*\b")
LYING: Final = re.compile(_BY_KIND["lying"])
OF_A_CHILD: Final = re.compile(_BY_KIND["child"])
